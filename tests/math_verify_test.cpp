#include "rewards/verify/math/math_verify.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <limits>

#include "rewards/verify/judge.h"
#include "rewards/verify/math/extract.h"
#include "rewards/verify/math/number.h"
#include "rewards/verify/math/parser.h"
#include "rewards/verify/rules.h"
#include "tests/testing.h"

using namespace vernier;

namespace {

// Tells what grows faster than its text, not how fast this machine is: no text here takes a tenth
// of it, and one whose work is quadratic many times. The sanitizers make everything slower, that of
// threads by up to a hundred times.
#if defined(__SANITIZE_THREAD__)
constexpr double kMostSeconds = 20;
#elif defined(__SANITIZE_ADDRESS__)
constexpr double kMostSeconds = 4;
#else
constexpr double kMostSeconds = 0.25;
#endif

std::vector<Json> cases(const char* name) {
  const std::string path = cat(VERNIER_TEST_CASES, "/verify/", name);
  const Json file = parse_json(read_file(path), path);
  REQUIRE(!file.at("cases").empty());
  return file.at("cases").get<std::vector<Json>>();
}

std::string boxed(const std::string& answer) {
  return cat("The final answer is \\boxed{", answer, "}.");
}

std::string verdict_on(const std::string& gold, const std::string& response,
                       Extract extract = Extract::lenient) {
  return name_of(verify_math(gold, response, extract).outcome);
}

std::string extracted(const std::string& response, Extract extract) {
  return verify_math("1", response, extract).extracted;
}

std::string repeated(std::string_view unit, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += unit;
  return out;
}

// The verdict that a row asks for: ours where it names one, else math-verify's.
std::string wanted(const Json& row) {
  return row.value("vernier", row["math_verify"].get<bool>() ? "correct" : "wrong");
}

}  // namespace

TEST_CASE("mathematics: pairs of gold and answer") {
  for (const Json& row : cases("pairs.json")) {
    CAPTURE(dump_json(row));
    const auto gold = row["gold"].get<std::string>(), answer = row["answer"].get<std::string>();
    for (const Extract extract : {Extract::lenient, Extract::boxed})
      CHECK(verdict_on(gold, boxed(answer), extract) == wanted(row));
  }
}

TEST_CASE("mathematics: whole responses") {
  for (const Json& row : cases("responses.json")) {
    CAPTURE(dump_json(row));
    const auto gold = row["gold"].get<std::string>(), text = row["response"].get<std::string>();
    CHECK(verdict_on(gold, text) == wanted(row));
  }
}

TEST_CASE("mathematics: notations, comparison, and what cannot be verified") {
  for (const Json& row : cases("own.json")) {
    CAPTURE(dump_json(row));
    const MathVerdict verdict = verify_math(
        row["gold"].get<std::string>(), boxed(row["answer"].get<std::string>()), Extract::boxed);
    CAPTURE(verdict.reason);
    CHECK(name_of(verdict.outcome) == row["verdict"].get<std::string>());
    CHECK(verdict.reason.find(row.value("reason", "")) != std::string::npos);
    CHECK(verdict.extracted == row["answer"].get<std::string>());
  }
}

TEST_CASE("mathematics: a sample of the comparison with math-verify") {
  const std::vector<Json> rows = cases("math_verify.json");
  CHECK(rows.size() >= 600);
  for (const Json& row : rows) {
    CAPTURE(dump_json(row));
    CHECK(verdict_on(row["gold"].get<std::string>(), row["response"].get<std::string>()) ==
          wanted(row));
  }
}

TEST_CASE("mathematics: an answer is found, or it is not") {
  for (const Json& row : cases("extraction.json")) {
    CAPTURE(dump_json(row));
    const auto text = row["text"].get<std::string>();
    const auto box = row.value("boxed", "");
    CHECK(extracted(text, Extract::boxed) == box);
    CHECK(extracted(text, Extract::lenient) == row.value("lenient", box));
  }
}

TEST_CASE("mathematics: numbers") {
  using namespace vernier::math;
  CHECK(read_number("1,234.50") == Rational(12345, 10));
  CHECK(read_number("2.5e-3") == Rational(25, 10000));
  CHECK(read_number("12345678901234567890123456789") ==
        Rational(Integer("12345678901234567890123456789")));
  CHECK(read_number("1000000000000000000000") == Rational(Integer("1000000000000000000000")));
  CHECK(!read_number("1e4000"));
  CHECK(!read_number("1e" + repeated("1", 40)));
  CHECK(power(Rational(2), 10) == Rational(1024));
  CHECK(power(Rational(2, 3), -2) == Rational(9, 4));
  CHECK(power(Rational(-1), int64_t{1} << 39) == Rational(1));
  CHECK(!power(Rational(0), -1));
  CHECK(!power(Rational(2), 10'001));
  CHECK(power(Rational(2), 9'999));
  CHECK(exact_root(Rational(9, 4)) == Rational(3, 2));
  CHECK(!exact_root(Rational(2)));
  CHECK(floor_of(Rational(-7, 2)) == -4);
  CHECK(floor_of(Rational(7, 2)) == 3);
  CHECK(micro(Rational(-2, 3)) == -666667);
}

TEST_CASE("mathematics: trees") {
  using namespace vernier::math;
  const auto parsed = [](std::string_view text, Tree& tree) {
    return parse(tokenize(text, true), tree).root;
  };
  Tree tree;
  // Each line is one tree, however it is written.
  for (const auto& [one, other] : {std::pair{"a+b*c", "a + (b \\cdot c)"},
                                   {"-a^2", "-(a^2)"},
                                   {"a/b c", "a/(b c)"},
                                   {"\\frac12x", "\\frac{1}{2} x"},
                                   {"2^{3^4}", "2^3^4"},
                                   {"\\sin 2x", "\\sin(2x)"},
                                   {"\\sin x \\cos y", "\\sin(x)\\cos(y)"},
                                   {"\\left(a,b\\right]", "(a,b]"},
                                   {"a \\le b", "a<=b"},
                                   {"\\{a,b\\}", "\\left\\{ a, b \\right\\}"},
                                   {"|a-b|", "\\lvert a-b\\rvert"}}) {
    CAPTURE(one);
    const int32_t a = parsed(one, tree), b = parsed(other, tree);
    REQUIRE(a != kNone);
    REQUIRE(b != kNone);
    CHECK(same_tree(tree, a, b));
  }
  for (const char* bad :
       {"", "1 +* 2", "(1", "1)", "\\frac{1}", "x^", "1 2", "|x", "\\unknown", "[1,2", "a_",
        "\\begin{pmatrix}1&2\\\\3\\end{pmatrix}", "#", "\xFF", "()"}) {
    CAPTURE(bad);
    const Parsed found = parse(tokenize(bad, true), tree);
    CHECK(found.root == kNone);
    CHECK(!found.problem.empty());
  }
}

TEST_CASE("mathematics: rules of rows") {
  CHECK(needs_answer("math"));
  CHECK(verify("math", "so \\boxed{0.5}", "\\frac12").correct);
  CHECK(verify("math", "so \\boxed{0.5}", "$\\frac12$\n").found == "0.5");
  CHECK(!verify("math", "so it is 0.5", "\\frac12").correct);
  CHECK(verify("math_lenient", "so it is 0.5", "\\frac12").correct);
  CHECK(verify("math", "so \\boxed{5}", "\\sum_n n").unverifiable);

  using Place = std::optional<size_t>;
  CHECK(first_correct("math", "\\boxed{1}, no: \\boxed{2}. So \\boxed{1}", "1") == Place(9));
  CHECK(first_correct("math", "<think>\\boxed{1}</think> \\boxed{1}", "1") == Place(34));
  CHECK(!first_correct("math", "\\boxed{2} 1", "1"));
  CHECK(first_correct("math_lenient", "\\boxed{2} or 1", "1") == Place());
  CHECK(first_correct("math_lenient", "it is 1", "1") == Place(7));
}

TEST_CASE("mathematics: no verdict where the answer of the row cannot be compared with") {
  Prompt prompt;
  prompt.id = "p";
  prompt.verify = "math";
  Response response;
  response.finish_reason = FinishReason::stop;
  response.text = "\\boxed{5}";
  std::string why = "stale";
  prompt.answer = "5.0";
  const std::optional<Verdict> verdict = judge(prompt, response, &why);
  REQUIRE(verdict.has_value());
  CHECK(verdict->correct);
  CHECK(why.empty());
  prompt.answer = "\\oint f";
  CHECK(!judge(prompt, response, &why));
  CHECK(why == "unverifiable: the gold does not parse: it has \\oint");
  response.text = "no box";
  CHECK(!judge(prompt, response));
}

TEST_CASE("mathematics: no text takes long") {
  std::vector<std::string> nasty = {
      "9^{9^{9^{9^9}}}",
      "2^{2^{2^{2^{2^2}}}}",
      "(10^{3000})^{3000}",
      "1000!!!!",
      "999!^{999}",
      repeated("{", 10'000) + "1" + repeated("}", 10'000),
      repeated("9", 2000),
      repeated("9", 200'000),
      "0." + repeated("9", 1900),
      repeated("\\frac{1}{", 200),
      repeated("\\frac{1}{x+", 100) + "1" + repeated("}", 100),
      repeated("\\left(", 5000),
      repeated("\\left(", 50) + "x" + repeated("\\right)", 50),
      repeated("(", 900) + "1",
      "\xFF\xFE\xC3",
      repeated("\xF0\x9F", 500),
      repeated("x^", 900) + "2",
      repeated("-", 1900) + "1",
      repeated("\\sqrt{", 300) + "2" + repeated("}", 300),
      repeated("\\sqrt{2+", 55) + "2" + repeated("}", 55),
      "\\begin{pmatrix}" + repeated("1&", 450) + "1\\end{pmatrix}",
      "\\begin{pmatrix}" + repeated("7/3\\\\", 240) + "1\\end{pmatrix}",
      repeated("\\begin{pmatrix}", 100),
      repeated("1,", 499) + "2",
      repeated("1/3,", 240) + "2",
      repeated("\\pi,", 480) + "e",
      repeated("x+", 480) + "y",
      repeated("(x+1)", 150),
      repeated("(x+y)^{50}", 60),
      "(x+1)^{9999}",
      repeated("\\sin ", 300) + "x",
      repeated("|", 1000),
      repeated("1<", 900) + "x",
      repeated("[0,1]\\cup", 180) + "[2,3]",
      repeated("x<1 or ", 180) + "x>3",
      repeated("\\binom{1000}{500}+", 80) + "1",
      repeated("500!+", 200) + "1",
      repeated("\\gcd(10^{2000},7^{2000})+", 60) + "1",
      repeated("\\pm1", 200),
      repeated("\\pm1,", 200) + "2",
      repeated("1_2", 300),
      repeated("'", 1000),
      repeated("x'", 500),
      repeated("\\text{a ", 200),
      repeated("\\text{", 900),
      repeated("cm ", 600),
      "5" + repeated(" cm/s", 300),
      repeated("$", 2000),
      repeated("\\", 1999),
      repeated("\\\\", 900),
      repeated("1 ", 900),
      repeated(",", 1900),
      repeated("0.\\overline{3}+", 100) + "1",
      repeated("10^{3000}\\cdot", 60) + "1",
      repeated("\\frac{10^{3000}}{7^{3000}}+", 40) + "1"};
  double worst = 0;
  std::string slowest;
  // The least of a few tries: what else runs on a shared core makes a try longer, never shorter.
  const auto least_seconds = [](double allowed, const auto& work) {
    double least = std::numeric_limits<double>::infinity();
    for (int tries = 0; tries < 5 && least >= allowed; ++tries) {
      const std::clock_t start = std::clock();
      work();
      least = std::min(least, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    return least;
  };
  const auto timed = [&](const std::string& gold, const std::string& response) {
    for (const Extract extract : {Extract::lenient, Extract::boxed}) {
      const double taken =
          least_seconds(kMostSeconds, [&] { verify_math(gold, response, extract); });
      if (taken > worst) {
        worst = taken;
        slowest = cat(gold.substr(0, 40), " | ", response.substr(0, 40));
      }
    }
  };
  for (const std::string& text : nasty) {
    timed(text, boxed("1"));
    timed("1", boxed(text));
    timed(text, boxed(text + "+0"));
    std::string back(text.rbegin(), text.rend());
    timed(text, boxed(back));
    timed("1", text);
    timed("1", cat("The answer is $", text, "$"));
  }
  // Where the first right answer is asked for, one text is many.
  for (const char* unit : {"a", "\\boxed{", "\\boxed", "\\boxed{1} ", "1 ", "1+("}) {
    const std::string text = repeated(unit, 200'000 / std::string_view(unit).size());
    // Four times what one text may take: what is quadratic in 200,000 bytes takes minutes.
    const double taken = least_seconds(4 * kMostSeconds, [&] {
      CHECK(first_correct("math", text + repeated("\\boxed{1} ", 64), "2") == std::nullopt);
    });
    CAPTURE(unit);
    CHECK(taken < 4 * kMostSeconds);
  }
  for (const char* unit : {"\\boxed{",   "\\boxed{1}", "\\boxed{1}, ",
                           "\\boxed",    "$",          "\\(",
                           "answer is ", "answer",     "####",
                           "1 ",         "a",          "$1$ and ",
                           "<think>",    "</think>",   "1,234,",
                           "1+(",        "1+",         "(1",
                           "\\fbox{",    "\\boxed{}",  "\\boxed{\\fbox{",
                           "\\boxed ",   "a)"}) {
    const std::string text = repeated(unit, 200'000 / std::string_view(unit).size());
    timed("2", text);
    timed("2", text + repeated("\\boxed{1} ", 64));
  }
  CAPTURE(slowest);
  CAPTURE(worst);
  CHECK(worst < kMostSeconds);
}

TEST_CASE(
    "an answer in thinking that never ends is none, where the prompt opened the thinking too") {
  Prompt prompt;
  prompt.verify = "math";
  prompt.answer = "5";
  Response response;
  response.text = "so \\boxed{5} and it stops";
  CHECK(judge(prompt, response)->correct);  // no thinking is known of
  response.think = {0, 9};
  response.answer_span = {9, 9};
  CHECK(!judge(prompt, response)->correct);
  response.answer_span = {5, 9};
  CHECK(judge(prompt, response)->correct);
}
