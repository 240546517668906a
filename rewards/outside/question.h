// One question to a reward outside the tree, and its answer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/types.h"
#include "rewards/reward.h"

namespace vernier {

/// A response as it is shown to a reward outside.
struct AskedResponse {
  int64_t sample = 0;
  std::string text;
  std::vector<int32_t> ids;
  int32_t num_tokens = 0;
  std::string finish_reason;
  TokenSpan think, answer;
};

/// What is asked: scores for these responses of one group, in order.
struct Asked {
  std::string id;  // the answer has to name it
  std::string prompt, answer;
  std::string row;  // JSON object
  std::vector<AskedResponse> responses;
};

/// What came back for one response. `cause` is one or two words that failures are counted by; ""
/// where the reward answered, be it with an abstention of its own.
struct Outcome {
  Score score;
  std::string cause;
};

/// The outcome of a failure: an abstention that begins with its cause.
Outcome failed(const std::string& cause, const std::string& detail);

/// Answered once, from any thread; whoever comes later is told so.
class Question {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Told = std::function<void(const std::vector<Outcome>&)>;

  /// `told` is called with the answer, on the thread that gives it.
  Question(Asked asked, double deadline_s, Told told);

  /// Null once there is an answer: it is let go then, for texts are large and answers are kept.
  std::shared_ptr<const Asked> asked() const;
  Time deadline() const { return deadline_; }
  double deadline_s() const { return deadline_s_; }
  size_t size() const { return size_; }

  /// False where there was an answer already. `outcomes` has one for each response.
  bool answer(std::vector<Outcome> outcomes);
  /// The same failure for every response.
  bool fail(const std::string& cause, const std::string& detail);

  bool answered() const;
  /// Waits for the answer until `end`; whether it is there.
  bool wait_until(Time end) const;
  /// For the service that answers it.
  int times_given = 0;

  /// Of an answered question.
  const std::vector<Outcome>& outcomes() const { return outcomes_; }

 private:
  const double deadline_s_;
  const Time deadline_;
  const size_t size_;
  const Told told_;
  mutable std::mutex lock_;
  mutable std::condition_variable changed_;
  std::shared_ptr<const Asked> asked_;  // shared with the thread that sends it
  std::vector<Outcome> outcomes_;
  bool claimed_ = false;   // somebody answers
  bool answered_ = false;  // and has
};

using QuestionPtr = std::shared_ptr<Question>;  // of who waits and of who answers

inline std::chrono::steady_clock::duration as_duration(double seconds) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(seconds));
}

/// Who answers questions. All of them are answered or failed, at their deadline at the latest.
class Answerer {
 public:
  virtual ~Answerer() = default;
  /// From any thread; does not wait.
  virtual void ask(const QuestionPtr& question) = 0;
  /// Whether it is at one question for longer than that one's deadline_s and cannot be ended, so
  /// that nobody is answered any more. From any thread.
  virtual bool is_stuck() const { return false; }
  /// What it counts beside failures ("restarts"), since the start. From any thread.
  virtual std::map<std::string, int64_t> counters() const { return {}; }
};

}  // namespace vernier
