// From drawn tokens to the JSON of an answer, whole or in chunks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "rollout/endpoint/request.h"
#include "rollout/endpoint/text_stream.h"
#include "rollout/service.h"

namespace vernier {

/// What all parts of an answer say.
struct AnswerHead {
  std::string id, model;
  int64_t created = 0;  // seconds since 1970
  int64_t weight_version = 0;
  uint64_t seed = 0;
};

/// One request's answer in the making. Joined, the texts of a stream's chunks are the text of the
/// whole answer, and so are their log-probabilities and ids. The text leaves out what ended it: end
/// token, stop token, stop text; ids and log-probabilities have every token.
class Answer {
 public:
  /// `pieces` must outlive it. `prompt_ids`: of every prompt.
  Answer(const ApiRequest& request, AnswerHead head, std::vector<std::vector<int32_t>> prompt_ids,
         const TokenPieces& pieces);

  /// Takes in what is new. Returns it as a chunk of a stream; "" where there is nothing to say yet.
  std::string add(const News& progress);
  bool complete() const { return left_ == 0; }
  int64_t prompt_tokens() const { return prompt_tokens_; }

  /// The whole answer, once it is complete.
  std::string whole() const;
  /// What a stream ends with where it was asked for.
  std::string usage_chunk() const;

 private:
  struct Choice {
    TextStream stream;
    Json part;  // what came since the last chunk
    bool begun = false;
  };

  void take_in(Choice& choice, const News& progress);
  void add_logprob(Choice& choice, const News& progress, size_t place) const;
  void begin(Choice& choice, int64_t index) const;
  Json frame(bool chunk) const;
  Json usage() const;

  bool chat_, stream_, include_usage_, logprobs_, ids_;
  int64_t alternatives_, n_;
  AnswerHead head_;
  std::vector<std::vector<int32_t>> prompt_ids_;
  int64_t prompt_tokens_ = 0, completion_tokens_ = 0, left_;
  std::vector<Choice> choices_;
};

}  // namespace vernier
