// Feeds bytes to the mathematics verifier: what stands before the first line break is the gold
// answer, the rest the response. Every input has a verdict; what is thrown ends the run, and so
// does a right answer of a text that has none.
#include "rewards/verify/math/math_verify.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/errors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  const std::string_view gold = text.substr(0, end);
  const std::string_view answer =
      end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  for (const MathVerdict& verdict :
       {verify_math(gold, answer, Extract::lenient), verify_math(gold, answer, Extract::boxed),
        verify_math(gold, cat("\\boxed{", answer, "}"), Extract::boxed),
        verify_math(gold, cat("\\boxed{", gold, "}"), Extract::boxed)})
    ensure(verdict.outcome != MathVerdict::Outcome::correct || !verdict.extracted.empty(),
           "only an answer is right");
  return 0;
}
