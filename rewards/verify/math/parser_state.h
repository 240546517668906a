// The parser's state and its parts: parser.cpp has operators, parser_atoms.cpp what they act on,
// parser_groups.cpp brackets and environments.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/text.h"
#include "rewards/verify/math/parser.h"

namespace vernier::math {

// Binding powers.
constexpr int kBindSets = 4, kBindSum = 10, kBindProduct = 20, kBindSide = 30, kBindTight = 50;

class Parser {
 public:
  Parser(std::vector<Token>&& list, Tree& tree) : list_(std::move(list)), tree_(tree) {}

  int32_t whole();
  std::string problem;

 private:
  // Operators.
  int32_t without_left_side();
  int32_t list(std::string_view closing);  // up to a close, a finish, a cell, a row or the end
  int32_t element();
  int32_t expression(int binding);
  int32_t infix(int32_t left, int binding);  // kNone where nothing binds as tightly
  int32_t sum_like(int32_t left, Tok kind);
  int32_t ratio(int32_t left);
  bool is_set(int32_t id) const;
  int32_t postfix(int32_t left);
  bool starts_atom(const Token& token) const;

  // What operators act on.
  int32_t atom();
  int32_t constant(const Token& token);
  int32_t word_atom(std::string_view text);
  int32_t overlined();
  int32_t number_atom();
  int32_t mixed_with_slash(int32_t whole);
  int32_t plain_number();
  int32_t run_atom();
  int32_t symbol(std::string name);
  std::string subscript_text();
  int32_t function_atom(Function function);
  int32_t argument();        // of a function
  int32_t short_argument();  // of \frac, \sqrt: a group, or one character
  int32_t frac_atom();
  int32_t sqrt_atom();
  int32_t decorated_atom();
  int32_t repeating(std::string_view digits);
  int32_t raised(int32_t base);
  int32_t exponent();

  // Brackets and environments.
  int32_t group(std::string_view kind);
  int32_t between(std::string_view opening, std::string_view closing,
                  const std::vector<int32_t>& items);
  int32_t set_group();
  int32_t bar_group(bool marked);
  int32_t environment();
  int32_t last_line();
  bool elements(std::vector<int32_t>& items, std::string_view closing);

  const Token& peek(size_t ahead = 0) const {
    static constexpr Token kEnd;
    return at_ + ahead < list_.size() ? list_[at_ + ahead] : kEnd;
  }
  bool at(Tok kind) const { return peek().kind == kind; }
  bool at_close(std::string_view kind) const { return at(Tok::close) && peek().text == kind; }
  bool take(Tok kind) {
    if (!at(kind)) return false;
    ++at_;
    return true;
  }
  int32_t refuse(std::string_view why) {
    if (problem.empty()) problem = why;
    return kNone;
  }
  int32_t node(Kind kind, std::initializer_list<int32_t> kids, uint8_t detail = 0) {
    for (const int32_t kid : kids)
      if (kid == kNone) return kNone;
    if (tree_.full()) return refuse(cat("it has more than ", kMaxNodes, " parts"));
    return tree_.add(kind, std::span(kids.begin(), kids.size()), detail);
  }
  int32_t call(Function function, std::initializer_list<int32_t> kids) {
    return node(Kind::function, kids, static_cast<uint8_t>(function));
  }

  // Counts the nesting of what calls itself.
  struct Nested {
    explicit Nested(Parser& parser) : parser_(parser) { ++parser_.depth_; }
    ~Nested() { --parser_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    bool too_deep() const { return parser_.depth_ > kMaxDepth; }

   private:
    Parser& parser_;
  };

  std::vector<Token> list_;
  Tree& tree_;
  size_t at_ = 0;
  int depth_ = 0;
  int bars_ = 0;                // open ones, of |x|
  bool bare_argument_ = false;  // in the argument of a function without brackets
  bool colon_parts_ = false;    // in a set, where it opens the condition
};

}  // namespace vernier::math
