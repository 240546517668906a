// The number that makes a method press harder for short answers.
#pragma once

#include <string>

namespace vernier {

/// A key of an algorithm, reward or transform, and where it makes sense.
struct Pressure {
  std::string key;
  double value = 0;              // now
  double low = 0, high = 0;      // of the values that press
  bool smaller_is_more = false;  // a smaller value presses harder
  double none = 0;               // the value without pressure
};

}  // namespace vernier
