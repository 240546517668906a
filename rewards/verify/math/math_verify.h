// Is a mathematical answer right? One that is written another way still is.
//
// The ladder, from cheap to dear: the same text; two plain numbers; the same tokens; the same
// expression tree; compare.h. Numbers are exact. Nothing is run, nothing waits on a clock: limits.h
// bounds what an answer may cost, and one past the limits is compared as text alone.
//
// Where graders disagree, the verdict is that of math-verify 0.9.0, but for what docs/rewards.md
// lists with reasons.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vernier {

/// Where an answer is looked for.
enum class Extract : uint8_t {
  boxed,    // the last box, and nothing else
  lenient,  // without a box, what "the answer is" names, else the last LaTeX, else the last number
};

struct MathVerdict {
  enum class Outcome : uint8_t {
    correct,
    wrong,
    unverifiable,  // the gold cannot be compared with: the sample is to be left out, and not wrong
  };
  Outcome outcome = Outcome::wrong;
  std::string extracted;  // what was taken for the answer; "" where nothing was
  std::string reason;     // in a few words
};

/// Judges a response by the gold answer, a bare one ("\frac12") or in a box, dollar signs or behind
/// "####". Takes any bytes. Time is linear in the response, and below 50 ms for what it holds.
MathVerdict verify_math(std::string_view gold, std::string_view response, Extract extract);

/// "correct", "wrong", "unverifiable".
const char* name_of(MathVerdict::Outcome outcome);

}  // namespace vernier
