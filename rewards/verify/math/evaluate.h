// Values of expression trees: exact where they are rational, else as balls.
#pragma once

#include <optional>
#include <span>

#include "rewards/verify/math/ball.h"
#include "rewards/verify/math/tree.h"

namespace vernier::math {

/// Where the values of symbols lie: in (0.3, 2.7); some of them negative; complex; 3 to 3000 with
/// either sign; in (-0.95, 0.95).
enum class Where : uint8_t { positive, negative, complex, far, near };

/// What a symbol and the sign of ± stand for.
struct Point {
  uint64_t seed = 0;  // 0: symbols have no value
  Where where = Where::positive;
  int sign = 1;              // of ±
  bool is_positive = false;  // no symbol is negative, whatever `where` says
  bool is_real = false;      // no value where a root or a logarithm leaves the real numbers
};

enum class Exactness : uint8_t {
  exact,
  irrational,  // or with a symbol in it: not for exact numbers
  undefined,   // 1/0
  over,        // past the limits
};

class Evaluator {
 public:
  Evaluator(const Tree& tree, Budget& budget) : tree_(tree), budget_(budget) {}

  /// The rational value of a tree. `symbol`: what the one symbol in it stands for.
  Exactness exact(int32_t id, int sign, Rational& out, const Rational* symbol = nullptr);

  /// The value at a point; one that is not finite where there is none.
  Ball approximate(int32_t id, const Point& point);

 private:
  Exactness exact_function(int32_t id, int sign, Rational& out, const Rational* symbol);
  Exactness exact_power(int32_t id, int sign, Rational& out, const Rational* symbol);
  Exactness kept(Rational& out);
  Ball function(int32_t id, const Point& point);
  Ball real_function(Function function, std::span<const Ball> of);
  Ball trigonometric(Function function, const Ball& a);
  Ball raised(int32_t id, const Point& point);
  Ball root(int32_t id, const Point& point);
  Ball angle(int32_t id, const Point& point);

  const Tree& tree_;
  Budget& budget_;
};

/// The value of a symbol at a point.
Ball symbol_value(int32_t index, const Point& point);

}  // namespace vernier::math
