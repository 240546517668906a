// What the main thread of a rank is doing, and that it is alive: for the thread that tells others.
#pragma once

#include <cstdint>
#include <string>

namespace vernier::pulse {

/// A part of the job. The thread is in the last one that was entered.
void enter(const char* phase);

/// A part that may be without a beat for as long as the start may: loading, saving. Then the one
/// before goes on.
class Slow {
 public:
  explicit Slow(const char* phase);
  ~Slow();
  Slow(const Slow&) = delete;
  Slow& operator=(const Slow&) = delete;

 private:
  std::string before_;
  bool was_slow_;
};

/// Something was done: a pass, a micro-batch, a group. Costs nothing.
void beat();

/// Waits for other ranks in `operation` as long as it lives: no beat is expected.
class Waiting {
 public:
  explicit Waiting(std::string operation);
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
};

struct State {
  std::string phase, operation;  // the operation that it waits in, or the last one
  bool slow = false, waiting = false;
  double seconds = 0;  // since the last beat, or since it waits
};
State state();

}  // namespace vernier::pulse
