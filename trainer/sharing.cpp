#include "trainer/sharing.h"

#include <algorithm>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/pulse.h"
#include "core/group_bytes.h"
#include "trainer/update.h"

namespace vernier {
namespace {

constexpr size_t kGroupsAtATime = 32;  // whose rows are on their way to rank 0

bool is_here(const Ranks& ranks, const Group& group) { return group.rank == ranks.rank(); }

PromptShare share_of(const Team& team) {
  PromptShare share{.next = [&team] { return team.ranks.claim(); }, .ranks = team.drawing_ranks()};
  Ranks* partners = team.partners;
  if (partners == nullptr) return share;
  share.follows = team.follows();
  share.next = [&team] {
    return team.asked_once([&team] { return team.ranks.claim(); }, "next prompt");
  };
  share.goes_on = [partners](bool stop, uint64_t drawn) {
    const int64_t mine = static_cast<int64_t>(drawn << 1 | (stop ? 1 : 0));
    bool stops = false;
    for (const int64_t one : partners->gather_numbers(mine, "next pass")) {
      stops = stops || one % 2 != 0;
      if (one >> 1 != mine >> 1)
        fail_run(
            "ranks that compute a model in parts (rollout.tensor_parallel_size) have drawn "
            "different tokens from it: their processors or builds are not alike");
    }
    return !stops;
  };
  return share;
}

}  // namespace

void draw_together(const Team& team, const std::function<void(const PromptShare&)>& draw) {
  Ranks& ranks = team.ranks;
  if (ranks.alone()) return draw({});
  ranks.begin_claims();
  bool interrupted = false;
  try {
    if (team.draws()) draw(share_of(team));
  } catch (const Interrupted&) {
    interrupted = true;
  }
  if (ranks.any(interrupted, "end of a draw")) throw Interrupted();
}

void draw_together_ahead(const Team& team,
                         const std::function<void(const PromptShare&, const OthersDraw&)>& draw) {
  Ranks& ranks = team.ranks;
  if (ranks.alone()) return draw({}, {});
  draw_together(team, [&](const PromptShare& share) {
    const std::string name = cat(ranks.draw_name(), " done");
    bool told = false;
    const OthersDraw others = [&] {
      const int64_t more = std::exchange(told, true) ? 0 : 1;
      return team.asked_once([&] { return ranks.count(name, more); }, "end of a share") <
             team.drawing_ranks();
    };
    try {
      draw(share, others);
    } catch (const Interrupted&) {
      if (!told) others();  // nobody waits for this one
      throw;
    }
  });
}

void share_groups(Ranks& ranks, std::vector<Group>& groups) {
  if (!ranks.alone()) {
    std::vector<Group> numbers;
    for (const Group& group : groups)
      if (is_here(ranks, group)) numbers.push_back(numbers_of(group));
    std::erase_if(groups, [&](const Group& group) { return !is_here(ranks, group); });
    const std::vector<std::string> all = ranks.gather(bytes_of_groups(numbers), "groups of a step");
    for (int64_t r = 0; r < ranks.size(); ++r) {
      if (r == ranks.rank()) continue;
      for (Group& group : groups_from_bytes(all[static_cast<size_t>(r)], cat("groups of rank ", r)))
        groups.push_back(std::move(group));
    }
  }
  std::sort(groups.begin(), groups.end(),
            [](const Group& a, const Group& b) { return a.id < b.id; });
}

void share_notes(Ranks& ranks, StepNotes& notes) {
  if (ranks.alone()) return;
  const std::vector<std::string> all = ranks.gather(notes.to_bytes(), "notes of a step");
  for (int64_t r = 0; r < ranks.size(); ++r)
    if (r != ranks.rank())
      notes.merge(StepNotes::from_bytes(all[static_cast<size_t>(r)], cat("notes of rank ", r)));
}

std::map<std::string, int64_t> sum_counts(Ranks& ranks, std::map<std::string, int64_t> counts) {
  if (ranks.alone()) return counts;
  std::map<std::string, int64_t> sums;
  for (const std::string& bytes : ranks.gather(bytes_of(counts), "counts of a step"))
    for (const auto& [name, count] :
         from_bytes<std::map<std::string, int64_t>>(bytes, "counts of a step"))
      sums[name] += count;
  return sums;
}

std::vector<int64_t> parts_of(int64_t parts, bool deterministic, std::span<const int64_t> tokens,
                              std::span<const size_t> groups) {
  const auto count = std::ssize(tokens);
  std::vector<int64_t> out(tokens.size());
  if (deterministic) {
    for (int64_t i = 0; i < count; ++i) out[static_cast<size_t>(i)] = i * parts / count;
    return out;
  }
  // The largest groups first, each to who has least.
  struct Span {
    size_t first, last;
    int64_t tokens;
  };
  std::vector<Span> spans;
  for (size_t first = 0, last = 0; first < groups.size(); first = last) {
    while (last < groups.size() && groups[last] == groups[first]) ++last;
    spans.push_back(
        {first, last,
         std::accumulate(tokens.begin() + static_cast<std::ptrdiff_t>(first),
                         tokens.begin() + static_cast<std::ptrdiff_t>(last), int64_t{0})});
  }
  std::stable_sort(spans.begin(), spans.end(),
                   [](const Span& a, const Span& b) { return a.tokens > b.tokens; });
  std::vector<int64_t> load(static_cast<size_t>(parts), 0);
  for (const Span& span : spans) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += span.tokens;
    for (size_t i = span.first; i < span.last; ++i) out[i] = least - load.begin();
  }
  return out;
}

namespace {

// Where the samples of one update go.
struct Shares {
  std::vector<int64_t> parts;
  std::vector<std::vector<SentResponse>> to_each;
};

Shares shares_of(const Team& team, const std::vector<Group>& groups, const Update& update) {
  std::vector<int64_t> tokens;
  std::vector<size_t> of_groups;
  for (const Sample& sample : update.samples) {
    tokens.push_back(sample.response->num_tokens);
    of_groups.push_back(sample.group);
  }
  Shares out{.parts = parts_of(team.parts(), team.deterministic, tokens, of_groups), .to_each = {}};
  out.to_each.resize(static_cast<size_t>(team.ranks.size()));
  std::vector<size_t> prompt_sent(out.to_each.size(), groups.size());
  for (size_t i = 0; i < update.samples.size(); ++i) {
    const Sample& sample = update.samples[i];
    const auto to = static_cast<size_t>(team.rank_of(out.parts[i]));
    const Group& group = groups[sample.group];
    if (!is_here(team.ranks, group) || static_cast<int64_t>(to) == team.ranks.rank()) continue;
    SentResponse& sent = out.to_each[to].emplace_back();
    sent.place = sample.place;
    // Once for its group.
    if (std::exchange(prompt_sent[to], sample.group) != sample.group)
      sent.prompt_ids = group.prompt.ids;
    sent.response = *sample.response;
  }
  return out;
}

// Keeps the samples of this rank, in order, and notes those of each round.
void keep_own(const Team& team, const std::vector<int64_t>& parts, Update& update) {
  std::vector<Sample> own;
  update.rounds.assign(static_cast<size_t>(team.rounds()), {});
  for (size_t i = 0; i < update.samples.size(); ++i) {
    if (team.rank_of(parts[i]) != team.ranks.rank()) continue;
    update.rounds[static_cast<size_t>(parts[i] / team.trainers.size())].push_back(own.size());
    own.push_back(std::move(update.samples[i]));
  }
  update.samples = std::move(own);
}

void take_in(const std::vector<Group>& groups, std::vector<SentResponse> sent, Update& update) {
  std::map<int64_t, Sample*> by_place;
  for (Sample& sample : update.samples) by_place[sample.place] = &sample;
  for (SentResponse& one : sent) {
    const auto found = by_place.find(one.place);
    ensure(found != by_place.end(), "a response that is computed here");
    Sample& sample = *found->second;
    if (!one.prompt_ids.empty()) update.prompts[sample.group] = std::move(one.prompt_ids);
    sample.advantage = one.response.advantage;
    sample.response = &update.received.emplace_back(std::move(one.response));
    sample.prompt_ids = &update.prompts.at(sample.group);
  }
  for (const Sample& sample : update.samples)
    ensure(!sample.response->elsewhere && sample.group < groups.size(), "tokens of every sample");
}

}  // namespace

void share_samples(const Team& team, const std::vector<Group>& groups,
                   std::vector<Update>& updates) {
  for (Update& update : updates) {
    Shares shares = shares_of(team, groups, update);
    keep_own(team, shares.parts, update);
    if (team.ranks.alone()) continue;
    std::vector<std::string> to_each;
    for (const auto& responses : shares.to_each) to_each.push_back(bytes_of_responses(responses));
    const std::vector<std::string> got =
        team.ranks.exchange(std::move(to_each), "responses of an update");
    std::vector<SentResponse> all;
    for (int64_t r = 0; r < team.ranks.size(); ++r)
      for (SentResponse& one :
           responses_from_bytes(got[static_cast<size_t>(r)], cat("responses of rank ", r)))
        all.push_back(std::move(one));
    take_in(groups, std::move(all), update);
  }
}

void collect_rows(Ranks& ranks, std::span<const Group> groups,
                  const std::function<std::vector<std::string>(const Group&)>& rows,
                  const std::function<void(const Group&, const std::vector<std::string>&)>& write) {
  for (size_t first = 0; first < groups.size(); first += kGroupsAtATime) {
    const auto some = groups.subspan(first, std::min(kGroupsAtATime, groups.size() - first));
    std::map<int64_t, std::vector<std::string>> own;
    for (size_t i = 0; i < some.size(); ++i)
      if (is_here(ranks, some[i])) own[static_cast<int64_t>(i)] = rows(some[i]);
    if (!ranks.alone()) {
      const std::vector<std::string> all = ranks.gather_to_first(bytes_of(own), "rows of a step");
      for (size_t r = 1; ranks.first() && r < all.size(); ++r)
        own.merge(
            from_bytes<std::map<int64_t, std::vector<std::string>>>(all[r], "rows of a step"));
    }
    pulse::beat();
    if (!ranks.first()) continue;
    for (size_t i = 0; i < some.size(); ++i) write(some[i], own.at(static_cast<int64_t>(i)));
  }
}

}  // namespace vernier
