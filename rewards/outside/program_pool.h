// Copies of a program that answer questions, one at a time each.
#pragma once

#include <memory>
#include <string>

#include "core/base/config.h"
#include "rewards/outside/question.h"
#include "rewards/outside/spawner.h"

namespace vernier {

struct PoolConfig {
  std::string name;  // for messages
  ChildSpec spec;
  int64_t copies = 1;
  double deadline_s = 60;  // of its questions
  double call_s = 30;      // a copy that is at one question for longer is killed
  double start_s = 60;     // the same from a start's first question to its first answer
  bool greets = false;     // its first line says {"ready":true} or {"refused":"why"}

  /// Reads copies, call_s and start_s.
  void bind(Binder& config, double question_deadline_s);
};

class ProgramPool final : public Answerer {
 public:
  /// Starts the copies. Throws RunError with the reason where one cannot be started, or refuses.
  explicit ProgramPool(PoolConfig config);
  /// Gives the copies a second to end by themselves, then kills them.
  ~ProgramPool() override;

  void ask(const QuestionPtr& question) override;
  std::map<std::string, int64_t> counters() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vernier
