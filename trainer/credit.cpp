#include "trainer/credit.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/base/pulse.h"
#include "core/model/adapters.h"
#include "trainer/sharing.h"

namespace vernier {
namespace {

// Calls `body` with every sample, the numbers of a forward pass without gradient that has it, and
// the place of its first token among them.
template <class Body>
void for_each_sample(Decoder& decoder, const Team& team, Update& update, double temperature,
                     int64_t max_tokens, bool square_mass, const Body& body) {
  const at::NoGradGuard no_grad;
  const std::vector<Sequence> sequences = sequences_of(update);
  const auto batches = split_by_tokens(sequences, max_tokens);
  make_passes(decoder, team, std::ssize(batches), [&](int64_t batch) {
    const std::vector<size_t>& which = batches[static_cast<size_t>(batch)];
    pulse::beat();
    const ops::TokenLogprobs forward =
        packed_logprobs(decoder, pack(sequences, which), temperature, square_mass);
    int64_t first = 0;
    for (const size_t i : which) {
      body(update.samples[i], forward, first);
      first += drawn_tokens(*update.samples[i].response);
    }
  });
}

template <class Number>
std::vector<Number> tokens_of(const at::Tensor& values, int64_t first, const Sample& sample) {
  const float* begin = values.const_data_ptr<float>() + first;
  return {begin, begin + drawn_tokens(*sample.response)};
}

// Every entry from the rank that has it.
void share_column(const Team& team, const Update& own, TokenColumn& column) {
  if (team.ranks.alone()) return;
  std::map<int64_t, std::vector<double>> entries;
  for (const Sample& sample : own.samples)
    entries[sample.place] = std::move(column[static_cast<size_t>(sample.place)]);
  share_map(team.ranks, entries, "tokens of a step");
  for (auto& [place, values] : entries) column.at(static_cast<size_t>(place)) = std::move(values);
}

void fill_columns(GroupTable& table, const CreditNeeds& needs, Update& update,
                  const CreditModels& models, const Team& team) {
  const auto pass = [&](Decoder& decoder, TokenColumn* logprob, TokenColumn* square_mass) {
    if (logprob != nullptr) logprob->resize(table.size());
    if (square_mass != nullptr) square_mass->resize(table.size());
    for_each_sample(
        decoder, team, update, models.temperature, models.max_tokens, square_mass != nullptr,
        [&](Sample& sample, const ops::TokenLogprobs& forward, int64_t first) {
          const auto place = static_cast<size_t>(sample.place);
          if (logprob != nullptr)
            (*logprob)[place] = tokens_of<double>(forward.logprob, first, sample);
          if (square_mass != nullptr)
            (*square_mass)[place] = tokens_of<double>(forward.square_mass, first, sample);
        });
    if (logprob != nullptr) share_column(team, update, *logprob);
    if (square_mass != nullptr) share_column(team, update, *square_mass);
  };
  if (needs.old || needs.square_mass)
    pass(*models.policy, needs.old ? &table.old : nullptr,
         needs.square_mass ? &table.square_mass : nullptr);
  if (!needs.reference) return;
  const WithoutAdapters base(*models.reference);
  pass(*models.reference, &table.reference, nullptr);
}

// Adds what the rewards give single tokens to the advantages of those that were drawn.
void add_bonus(Response& response) {
  if (response.token_bonus.empty()) return;
  std::vector<float>& each = response.token_advantages;
  if (each.empty())
    each.assign(static_cast<size_t>(drawn_tokens(response)),
                static_cast<float>(response.advantage));
  size_t k = 0;
  sequence_of(response, nullptr).for_drawn([&](int64_t t) {
    each[k++] += response.token_bonus[static_cast<size_t>(t)];
  });
}

}  // namespace

void assign_credit(Algorithm& algorithm, std::span<Group> groups, const CreditModels& models,
                   Metrics& metrics, const Team& team) {
  if (groups.empty()) return;  // a filter may leave nothing
  GroupTable table = make_table(groups, algorithm.uses_channels());
  const CreditNeeds needs = algorithm.credit_needs();
  if (needs.any()) {
    Update own = make_update(groups, 0, algorithm.uses_channels());
    std::erase_if(own.samples, [](const Sample& one) { return one.response->elsewhere; });
    fill_columns(table, needs, own, models, team);
  }
  const Credit credit = algorithm.credit(table);
  size_t place = 0;
  for (Group& group : groups)
    for (Response& response : group.responses) {
      response.advantage = credit.response[place];
      response.token_advantages.clear();
      if (!credit.token.empty())
        response.token_advantages.assign(credit.token[place].begin(), credit.token[place].end());
      if (table.active[place] != 0 && !response.left_out) add_bonus(response);
      ++place;
    }
  if (std::isfinite(credit.kl)) metrics.set("kl", credit.kl);
  algorithm.observe({.kl = credit.kl,
                     .entropy = std::nan(""),
                     .sequences = std::count(table.active.begin(), table.active.end(), 1),
                     .updated = false});
}

void fill_logprobs(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                   bool reference, const Team& team) {
  std::optional<WithoutAdapters> base;
  if (reference) base.emplace(decoder);
  for_each_sample(decoder, team, update, temperature, max_tokens, false,
                  [&](Sample& sample, const ops::TokenLogprobs& forward, int64_t first) {
                    (reference ? sample.reference : sample.old) =
                        tokens_of<float>(forward.logprob, first, sample);
                  });
}

}  // namespace vernier
