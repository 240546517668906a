#include "trainer/packing.h"

#include <algorithm>
#include <numeric>

namespace vernier {

Sequence sequence_of(const Response& response, const std::vector<int32_t>* prompt) {
  return {prompt, response.ids.data(), response.num_tokens, response.forced};
}

std::vector<std::vector<size_t>> split_by_tokens(const std::vector<Sequence>& sequences,
                                                 int64_t max_tokens) {
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return sequences[a].tokens() > sequences[b].tokens();
  });
  std::vector<std::vector<size_t>> batches;
  int64_t filled = 0;
  for (const size_t i : order) {
    if (batches.empty() || filled + sequences[i].tokens() > max_tokens) {
      batches.emplace_back();
      filled = 0;
    }
    batches.back().push_back(i);
    filled += sequences[i].tokens();
  }
  return batches;
}

// The last token of a response predicts nothing and does not run.
ops::TokenLogprobs packed_logprobs(Decoder& decoder, const std::vector<Sequence>& sequences,
                                   const std::vector<size_t>& which, double temperature,
                                   bool square_mass) {
  PackedTokens tokens;
  std::vector<int64_t> rows;
  std::vector<int32_t> targets, ids;
  for (const size_t i : which) {
    const Sequence& s = sequences[i];
    ids.assign(s.prompt->begin(), s.prompt->end());
    ids.insert(ids.end(), s.response, s.response + s.length - 1);
    const int64_t first = tokens.size() + static_cast<int64_t>(s.prompt->size()) - 1;
    s.for_drawn([&](int64_t t) {
      rows.push_back(first + t);
      targets.push_back(s.response[t]);
    });
    tokens.add(ids);
  }
  const at::Tensor hidden = decoder.hidden(tokens).index_select(0, at::tensor(rows));
  return ops::token_logprobs(hidden, decoder.head(), targets, temperature, square_mass);
}

}  // namespace vernier
