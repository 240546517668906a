#include "core/base/pulse.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <utility>

namespace vernier::pulse {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Shared {
  std::mutex lock;
  State now{.phase = "starting", .operation = "", .slow = true};
  std::atomic<SteadyClock::rep> last{SteadyClock::now().time_since_epoch().count()};
};

Shared& shared() {
  static Shared instance;
  return instance;
}

}  // namespace

void beat() { shared().last.store(SteadyClock::now().time_since_epoch().count()); }

void enter(const char* phase) {
  beat();
  const std::lock_guard hold(shared().lock);
  shared().now.phase = phase;
  shared().now.slow = false;
}

Slow::Slow(const char* phase) {
  beat();
  const std::lock_guard hold(shared().lock);
  before_ = std::exchange(shared().now.phase, phase);
  was_slow_ = std::exchange(shared().now.slow, true);
}

Slow::~Slow() {
  beat();
  const std::lock_guard hold(shared().lock);
  shared().now.phase = before_;
  shared().now.slow = was_slow_;
}

Waiting::Waiting(std::string operation) {
  beat();
  const std::lock_guard hold(shared().lock);
  shared().now.operation = std::move(operation);
  shared().now.waiting = true;
}

Waiting::~Waiting() {
  beat();
  const std::lock_guard hold(shared().lock);
  shared().now.waiting = false;
}

State state() {
  // Under the lock: who changes a flag has beaten before, so that a flag never comes with the time
  // of the one before.
  const std::lock_guard hold(shared().lock);
  const SteadyClock::time_point last{SteadyClock::duration(shared().last.load())};
  State out = shared().now;
  out.seconds = std::chrono::duration<double>(SteadyClock::now() - last).count();
  return out;
}

}  // namespace vernier::pulse
