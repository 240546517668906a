// Feeds bytes to the mathematics verifier: what stands before the first line break is the gold
// answer, the rest the response. Every input has a verdict; what is thrown ends the run, and so
// does a right answer of a text that has none, or a verdict that takes too long. The longest is
// printed at the end.
#include "rewards/verify/math/math_verify.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>

#include "core/base/errors.h"

namespace {

// The sanitizers make everything slower by about ten times.
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer)
constexpr double kMostSeconds = 0.5;
#else
constexpr double kMostSeconds = 0.05;
#endif

// The longest time of a verdict, in seconds of this thread.
struct Longest {
  ~Longest() { std::printf("the longest verdict took %.2f ms\n", 1e3 * seconds); }
  double seconds = 0;
};
Longest longest;

double now() {
  timespec time = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

vernier::MathVerdict timed(std::string_view gold, std::string_view response,
                           vernier::Extract extract) {
  const double begin = now();
  vernier::MathVerdict out = vernier::verify_math(gold, response, extract);
  longest.seconds = std::max(longest.seconds, now() - begin);
  vernier::ensure(longest.seconds < kMostSeconds, "a verdict takes no longer than its limit");
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  const std::string_view gold = text.substr(0, end);
  const std::string_view answer =
      end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  for (const MathVerdict& verdict :
       {timed(gold, answer, Extract::lenient), timed(gold, answer, Extract::boxed),
        timed(gold, cat("\\boxed{", answer, "}"), Extract::boxed),
        timed(gold, cat("\\boxed{", gold, "}"), Extract::boxed)})
    ensure(verdict.outcome != MathVerdict::Outcome::correct || !verdict.extracted.empty(),
           "only an answer is right");
  return 0;
}
