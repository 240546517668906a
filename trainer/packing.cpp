#include "trainer/packing.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace vernier {

Sequence sequence_of(const Response& response, const std::vector<int32_t>* prompt) {
  return {prompt, response.ids.data(), response.num_tokens, response.forced};
}

std::vector<std::vector<size_t>> split_by_tokens(const std::vector<Sequence>& sequences,
                                                 int64_t max_tokens) {
  struct Together {
    int64_t longest = 0;
    size_t place = 0;  // of its first sequence: keeps groups of one length apart
  };
  std::map<const void*, Together> groups;
  for (size_t i = 0; i < sequences.size(); ++i) {
    Together& group = groups.try_emplace(sequences[i].prompt, Together{0, i}).first->second;
    group.longest = std::max(group.longest, sequences[i].tokens());
  }
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const Together &left = groups.at(sequences[a].prompt), &right = groups.at(sequences[b].prompt);
    if (left.longest != right.longest) return left.longest > right.longest;
    if (left.place != right.place) return left.place < right.place;
    return sequences[a].tokens() > sequences[b].tokens();
  });
  std::vector<std::vector<size_t>> batches;
  const void* prompt = nullptr;  // of the sequence before
  int64_t filled = 0;
  for (const size_t i : order) {
    const Sequence& sequence = sequences[i];
    int64_t tokens = sequence.prompt == prompt ? sequence.length : sequence.tokens();
    if (batches.empty() || filled + tokens > max_tokens) {
      batches.emplace_back();
      filled = 0;
      tokens = sequence.tokens();
    }
    batches.back().push_back(i);
    filled += tokens;
    prompt = sequence.prompt;
  }
  return batches;
}

// The last token of a response predicts nothing and does not run.
PackedBatch pack(const std::vector<Sequence>& sequences, const std::vector<size_t>& which) {
  std::map<const void*, int64_t> sharing;  // sequences of a prompt
  for (const size_t i : which) ++sharing[sequences[i].prompt];
  PackedBatch out;
  PackedTokens& tokens = out.tokens;
  std::map<const void*, std::pair<int32_t, int64_t>> prompts;  // segment, and its last row
  std::vector<int32_t> ids;
  for (const size_t i : which) {
    const Sequence& s = sequences[i];
    const bool shared = sharing.at(s.prompt) > 1;
    if (shared && !prompts.contains(s.prompt)) {
      tokens.add(*s.prompt);
      prompts[s.prompt] = {static_cast<int32_t>(tokens.segments() - 1), tokens.size() - 1};
    }
    ids.clear();
    if (!shared) ids = *s.prompt;
    ids.insert(ids.end(), s.response, s.response + s.length - 1);
    // The row before that of the first token of the response.
    const int64_t before = tokens.size() + (shared ? 0 : std::ssize(*s.prompt)) - 1;
    s.for_drawn([&](int64_t t) {
      out.rows.push_back(t == 0 && shared ? prompts.at(s.prompt).second : before + t);
      out.targets.push_back(s.response[t]);
    });
    if (!ids.empty()) tokens.add(ids, shared ? prompts.at(s.prompt).first : -1);
  }
  return out;
}

ops::TokenLogprobs packed_logprobs(Decoder& decoder, const PackedBatch& batch, double temperature,
                                   bool square_mass) {
  const at::Tensor all = decoder.hidden(batch.tokens);
  const at::Tensor hidden = all.index_select(0, at::tensor(batch.rows).to(all.device()));
  const auto found = decoder.logprobs(hidden, batch.targets, temperature, square_mass);
  if (!all.is_cuda()) return found;
  return {found.logprob.cpu(), found.entropy.cpu(),
          square_mass ? found.square_mass.cpu() : at::Tensor()};
}

}  // namespace vernier
