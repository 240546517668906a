// Guesses of what comes next, for several tokens in one pass.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace vernier {

/// Remembers the texts of one group, the prompt and all responses to it. What followed the last
/// `ngram` tokens of a response where they last stood, in any of these texts, is the guess. A guess
/// costs nothing but time: the engine draws every token as if there had been none.
/// Source: prompt lookup decoding (Saxena 2023), with the group's other responses as in DAS
/// (arXiv:2511.13841).
class GroupDrafts {
 public:
  GroupDrafts(std::span<const int32_t> prompt, int64_t responses, int64_t ngram);

  /// The newest token of a response.
  void add(int64_t response, int32_t id);

  /// Up to `count` tokens that may come next in a response; none where nothing like it was seen.
  std::vector<int32_t> guess(int64_t response, int64_t count) const;

 private:
  struct Place {
    int64_t text = -1;
    size_t next = 0;  // the token behind the n-gram
  };

  void append(int64_t text, int32_t id);

  size_t ngram_;
  std::vector<std::vector<int32_t>> texts_;   // of each response: the prompt's last tokens first
  std::vector<Place> seen_;                   // where the end of each text stood before
  std::unordered_map<uint64_t, Place> last_;  // by hash of an n-gram
};

}  // namespace vernier
