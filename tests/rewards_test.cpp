// Rewards, rules of correctness and DOT, by the case files in tests/cases/rewards.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <numeric>

#include "core/base/config.h"
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "rewards/reward.h"
#include "rewards/verify/expression.h"
#include "rewards/verify/judge.h"
#include "rewards/verify/math_format.h"
#include "rewards/verify/rules.h"

namespace vernier {
namespace {

constexpr double kDigits = 1e-6;  // what the golden values are given to

Json cases(const std::string& name) {
  const std::string path = cat(VERNIER_TEST_CASES, "/rewards/", name);
  return parse_json(read_file(path), path);
}

std::string lines(const Json& list) {
  std::string out;
  for (const Json& line : list) out += cat(line.get<std::string>(), "\n");
  return out;
}

// One token a character.
std::string decode(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

ScoringChain chain_of(const std::string& config, const ScoringContext& context) {
  ScoringChain chain;
  ConfigFile::parse(config, "t.toml").bind([&](Binder& root) { chain.bind(root, context); });
  return chain;
}

ScoringContext context_of(const Json& row) {
  ScoringContext context;
  const Json given = row.value("context", Json::object());
  context.num_generations = given.value("num_generations", int64_t{0});
  context.max_completion_length = given.value("max_completion_length", int64_t{0});
  if (given.value("decode", false)) context.decode = decode;
  return context;
}

Response response_of(const std::string& text, int32_t num_tokens) {
  Response response;
  response.text = text;
  response.num_tokens = response.raw_num_tokens = num_tokens;
  return response;
}

Group group_of(const Json& row) {
  Group group;
  const Json& prompt = row["prompt"];
  group.prompt.id = "p1";
  group.prompt.answer = prompt.value("answer", "");
  group.prompt.verify = prompt.value("verify", "");
  if (prompt.contains("row")) group.prompt.row = dump_json(prompt["row"]);
  for (const Json& given : row["responses"]) {
    Response response =
        response_of(given["text"].get<std::string>(), given["num_tokens"].get<int32_t>());
    response.finish_reason = finish_reason_from(given.value("finish_reason", "stop"), "case");
    group.responses.push_back(std::move(response));
  }
  return group;
}

// A response of `length` tokens, a token a character, that ends in `answer`.
Response token_response(int64_t length, const std::string& answer) {
  const std::string text = std::string(static_cast<size_t>(length) - answer.size(), 'x') + answer;
  Response response = response_of(text, static_cast<int32_t>(length));
  response.ids.assign(text.begin(), text.end());
  response.logprobs.assign(text.size(), -0.5F);
  response.think = {0, static_cast<int32_t>(length) - 3};
  response.answer_span = {static_cast<int32_t>(length) - 3, static_cast<int32_t>(length)};
  response.versions = {{4, 150}, {5, static_cast<int32_t>(length) - 150}};
  return response;
}

std::vector<double> rewards_of(const Group& group) {
  std::vector<double> out;
  for (const Response& response : group.responses) out.push_back(response.reward.value());
  return out;
}

// GRPO's advantages: (R - mean) / (std + 1e-6), std with n - 1.
std::vector<double> advantages(const std::vector<double>& rewards) {
  const auto n = static_cast<double>(rewards.size());
  const double mean = std::accumulate(rewards.begin(), rewards.end(), 0.0) / n;
  double squares = 0;
  for (const double reward : rewards) squares += (reward - mean) * (reward - mean);
  std::vector<double> out;
  for (const double reward : rewards)
    out.push_back((reward - mean) / (std::sqrt(squares / (n - 1)) + 1e-6));
  return out;
}

void check_near(const std::vector<double>& got, const Json& want, double tolerance = kDigits) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(got[i] - want[i].get<double>()) <= tolerance);
  }
}

double number(const std::vector<std::pair<std::string, double>>& numbers, const std::string& name) {
  for (const auto& [key, value] : numbers)
    if (key == name) return value;
  FAIL("no number called ", name);
  return 0;
}

// What fails with a UsageError says; "" where it does not fail.
template <class Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The group of a case of dot.json.
Group dot_group(const Json& row) {
  Group group;
  group.prompt.answer = "7";
  if (!row.value("unjudged", false)) group.prompt.verify = "final_digit";
  for (const Json& length : row["lengths"])
    group.responses.push_back(token_response(length.get<int64_t>(), "#7."));
  for (size_t i = 0; i < group.responses.size(); ++i)
    group.responses[i].sample = static_cast<int64_t>(i);
  const Json none = Json::array();
  const Json wrong = row.value("wrong", none), stopped = row.value("stopped", none);
  for (const Json& i : wrong) {
    Response& response = group.responses[i.get<size_t>()];
    response = token_response(response.num_tokens, "#1.");
  }
  for (const Json& i : stopped)
    group.responses[i.get<size_t>()].finish_reason = FinishReason::deadline;
  return group;
}

// Holds response `i` to what the case says of it: cut, masked or left alone, and why.
void check_dot(const Json& row, size_t i, const Response& response) {
  const auto length = row["lengths"][i].get<int32_t>();
  const Json cut = row["cut"].value(cat(i), Json(nullptr));
  const int32_t want = cut.is_null() ? length : cut.get<int32_t>();
  CHECK(response.num_tokens == want);
  CHECK(response.raw_num_tokens == length);
  CHECK(response.text.size() == static_cast<size_t>(want));
  CHECK(response.ids.size() == static_cast<size_t>(want));
  const Json masked = row.value("masked", Json::array());
  const bool is_masked = std::find(masked.begin(), masked.end(), Json(i)) != masked.end();
  CHECK(response.masked == is_masked);
  CHECK(response.transforms.size() == (is_masked || !cut.is_null() ? 1U : 0U));
  if (!cut.is_null()) {
    CHECK(response.transforms[0] == cat("dot: cut ", length, " to ", want));
    CHECK(response.reward == 0.0);
    CHECK(response.correct == false);
  }
  const Json steps = parse_json(response.explain, "explain");
  const auto step = std::find_if(steps.begin(), steps.end(),
                                 [](const Json& s) { return s["step"] == "transform"; });
  REQUIRE(step != steps.end());
  CHECK((*step)["name"] == "dot");
  for (const char* key : {"mu", "sigma", "T"})
    if (row.contains(key))
      CHECK(std::abs((*step)[key].get<double>() - row[key].get<double>()) <= kDigits);
  if (row.contains("how")) CHECK((*step)["how"] == row["how"]);
  CHECK((*step)["eligible"] == Json(!row.contains("how")));
}

// Pays the share of the group's longest response: needs the group as it is now.
class ShareOfLongest final : public Reward {
 public:
  void score(const Group& group, std::span<Score> scores) const override {
    double longest = 1;
    for (const Response& response : group.responses)
      longest = std::max(longest, static_cast<double>(response.num_tokens));
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i].value = group.responses[i].num_tokens / longest;
  }
};

const RewardRegistry::Entry entry{
    "test_share_of_longest", "for this test", [](Binder&, const ScoringContext&) {
      return std::unique_ptr<Reward>(std::make_unique<ShareOfLongest>());
    }};

}  // namespace

TEST_CASE("rules of correctness") {
  const Json file = cases("verify.json");
  for (const Json& row : file["cases"]) {
    CAPTURE(dump_json(row));
    const auto judge = [&] {
      return verify(row["rule"].get<std::string>(), row["text"].get<std::string>(),
                    row["answer"].get<std::string>());
    };
    if (row.contains("error")) {
      CHECK(holds(refusal(judge), row["error"].get<std::string>()));
      continue;
    }
    const Verdict verdict = judge();
    CHECK(verdict.correct == row["correct"].get<bool>());
    CHECK(verdict.found == row["found"].get<std::string>());
  }
}

TEST_CASE("the first place where a response is right") {
  using Place = std::optional<size_t>;
  CHECK(first_correct("last_integer", "3 + 4 = 7. No, 8. Yes, 7.", "7") == Place(9));
  CHECK(first_correct("last_integer", "17 or 7", "7") == Place(7));
  CHECK(first_correct("last_integer", "7 or 8", "7") == Place(1));  // wrong in the end
  CHECK(first_correct("last_integer", "1,234", "1234") == Place(5));
  CHECK(first_correct("last_integer", "1,234", "1") == Place(1));
  CHECK(!first_correct("last_integer", "8", "7"));
  std::string many;
  for (int i = 0; i < 64; ++i) many += "8 ";
  CHECK(first_correct("last_integer", many + "7 or 7.", "7") == Place(135));  // past the 64 tried
  CHECK(first_correct("final_digit", "1#7.", "7") == Place(4));
  CHECK(!first_correct("final_digit", "1#8.", "7"));
}

TEST_CASE("form of mathematical answers") {
  const Json file = cases("math_format.json");
  const auto boxed = [&](const char* list, const std::string& open, const std::string& close,
                         bool strict, bool want) {
    for (const Json& row : file[list]) {
      const std::string text = cat("so \\boxed", open, row.get<std::string>(), close);
      CAPTURE(text);
      CAPTURE(normalize_answer(row.get<std::string>(), strict));
      CHECK(has_math_answer(text, strict) == want);
    }
  };
  boxed("boxes", "", "", true, true);
  boxed("box_errors", "", "", true, false);
  boxed("valid", "{", "}", true, true);
  boxed("invalid", "{", "}", true, false);
  // What is right in the strict reading stays right, and what it refuses wrongly becomes so.
  boxed("boxes", "", "", false, true);
  boxed("valid", "{", "}", false, true);
  boxed("lenient_valid", "{", "}", false, true);
  boxed("lenient_invalid", "{", "}", false, false);
}

TEST_CASE("extraction and normal form of answers") {
  const Json file = cases("math_format.json");
  for (const Json& row : file["answers"]) {
    CAPTURE(dump_json(row));
    const auto text = row["text"].get<std::string>(), answer = row["answer"].get<std::string>();
    CHECK(parse_answer(text) == answer);
    CHECK(parse_answer(text, false) == row.value("lenient", answer));
  }
  for (const Json& row : file["normal_forms"])
    CHECK(normalize_answer(row[0].get<std::string>()) == row[1].get<std::string>());
}

TEST_CASE("scanners take linear time on hostile text") {
  constexpr size_t kSize = 1 << 20;
  for (const std::string unit :
       {"\\boxed{", "\\boxed",  "{",       "}",        "(",       "[(",   "\\frac",   "\\frac{",
        "\\sqrt[",  "\\begin{", "^ ",      "^",        "1,",      ",123", "- ",       "1 ",
        " ",        "1",        "!",       "x",        "|",       "=",    "<answer>", "</answer>",
        "\\(",      "$",        "<think>", "</think>", "\\text{", "cm ^", "million",  "#",
        "\\\\",     "\xFF",     "\xC3",    "≤",        "-1"}) {
    std::string text;
    while (text.size() < kSize) text += unit;
    const std::clock_t start = std::clock();  // of this process: others on the machine do not count
    for (const bool strict : {true, false}) {
      is_expression(text, strict);
      normalize_answer(cat("\\", text), strict);
      parse_answer(cat("\\boxed{", text), strict);
      parse_answer(cat("<answer>", text, "</answer>"), strict);
    }
    has_think_block(text);
    verify("last_integer", text, "7");
    verify("final_digit", text, "7");
    const double taken = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    CAPTURE(unit);
    CHECK(taken < 30);  // a second or two; hours if a scanner were quadratic
  }
}

TEST_CASE("chains of rewards") {
  const Json file = cases("scoring.json");
  for (const Json& row : file["cases"]) {
    CAPTURE(row["name"].get<std::string>());
    Group group = group_of(row);
    chain_of(lines(row["config"]), context_of(row)).score(group, false);
    for (size_t i = 0; i < group.responses.size(); ++i) {
      CAPTURE(i);
      const Response& response = group.responses[i];
      const Json& want = row["responses"][i];
      REQUIRE(response.reward.has_value() == !want["reward"].is_null());
      if (response.reward)
        CHECK(*response.reward == doctest::Approx(want["reward"].get<double>()).epsilon(1e-12));
      if (want.contains("correct"))
        CHECK((response.correct ? Json(*response.correct) : Json(nullptr)) == want["correct"]);
      CHECK(response.masked == want.value("masked", false));
      const Json parts = want.value("rewards", Json::object());
      for (const auto& [name, value] : parts.items()) {
        const auto part =
            std::find_if(response.rewards.begin(), response.rewards.end(),
                         [&name = name](const RewardPart& p) { return p.name == name; });
        REQUIRE(part != response.rewards.end());
        if (value.is_string())
          CHECK(part->abstained == value.get<std::string>());
        else
          CHECK(part->value == value.get<double>());
        CHECK(part->abstained.empty() == value.is_number());
      }
      CHECK(response.explain.empty());
    }
  }
}

TEST_CASE("mistakes in a configuration") {
  const Json file = cases("config.json");
  for (const Json& row : file["cases"]) {
    CAPTURE(row["name"].get<std::string>());
    const std::string message = refusal([&] { chain_of(lines(row["config"]), context_of(row)); });
    CAPTURE(message);
    for (const Json& part : row["errors"]) CHECK(holds(message, part.get<std::string>()));
    CHECK(std::count(message.begin(), message.end(), '\n') + 1 == row["lines"].get<int64_t>());
  }
}

TEST_CASE("an unusable rule or answer names the prompt") {
  const ScoringChain chain = chain_of("[[reward]]\ntype = \"accuracy\"\n", {});
  Group group;
  group.prompt.id = "row 17";
  group.prompt.answer = "seven";
  group.prompt.verify = "last_integer";
  group.responses = {response_of("7", 1)};
  CHECK(refusal([&] { chain.score(group, false); }) ==
        "prompt row 17: rule last_integer: the answer 'seven' is not an integer");
}

TEST_CASE("a response is right by any of the answers") {
  Prompt prompt;
  prompt.answer = "4";
  prompt.other_answers = {"four", "IV"};
  const auto right = [&](const char* rule, const char* text) {
    prompt.verify = rule;
    return judge(prompt, response_of(text, 1))->correct;
  };
  CHECK(right("exact", "4"));
  CHECK(right("exact", " IV\n"));
  CHECK(!right("exact", "5"));
  CHECK(!right("exact", "4, four"));
  CHECK(right("marked", "2+2 # four."));
  prompt.other_answers = {"14", "\\oint f"};
  CHECK(right("math", "\\boxed{14}"));
  CHECK(!judge(prompt, response_of("\\boxed{5}", 1)));  // who knows the integral
  prompt.other_answers = {"1"};
  prompt.verify = "last_integer";
  CHECK(first_correct(prompt, "1, no, 4") == std::optional<size_t>(1));
  CHECK(first_correct(prompt, "3, no, 4") == std::optional<size_t>(8));
  CHECK(!first_correct(prompt, "3"));
}

TEST_CASE("length surrogate, published values") {
  const Json file = cases("surrogate.json");
  const auto reward = [](const std::string& keys, int64_t length, bool formed) {
    Group group;
    group.responses = {response_of(formed ? "\\boxed{1}" : "1", static_cast<int32_t>(length))};
    chain_of(cat("[[reward]]\ntype = \"length_surrogate\"\nl_max = 3072\n", keys), {})
        .score(group, false);
    return group.responses[0].reward.value();
  };
  for (const Json& row : file["rows"]) {
    const auto length = row[0].get<int64_t>();
    CAPTURE(length);
    const std::vector<double> got = {
        reward("format_weight = 0", length, true),
        reward("format_weight = 0\nshape = \"polyline\"", length, true),
        reward("", length, true),
        reward("combination = \"paper\"", length, true),
        reward("", length, false),
        reward("format_weight = 0\np = 0.25", length, true),
        reward("format_weight = 0\np = 0.8", length, true)};
    check_near(got, Json(std::vector<Json>(row.begin() + 1, row.end())));
  }
}

TEST_CASE("length surrogate, advantages of a group") {
  const Json file = cases("surrogate.json");
  for (const std::string combination : {"code", "paper"}) {
    CAPTURE(combination);
    Group group;
    for (size_t i = 0; i < file["lengths"].size(); ++i)
      group.responses.push_back(response_of(file["formed"][i].get<int>() != 0 ? "\\boxed{1}" : "1",
                                            file["lengths"][i].get<int32_t>()));
    ScoringContext context;
    context.max_completion_length = 3072;
    chain_of(cat("[[reward]]\ntype = \"length_surrogate\"\ncombination = \"", combination, "\"\n"),
             context)
        .score(group, false);
    check_near(rewards_of(group), file[combination]);
    check_near(advantages(rewards_of(group)), file[combination + "_advantages"], 2e-6);
  }
}

TEST_CASE("dot, published and own groups") {
  const Json file = cases("dot.json");
  for (const Json& row : file["cases"]) {
    CAPTURE(row["name"].get<std::string>());
    Group group = dot_group(row);
    ScoringContext context;
    context.decode = decode;
    const std::string config = "[[reward]]\ntype = \"accuracy\"\n[[transform]]\ntype = \"dot\"\n";
    const auto numbers =
        chain_of(cat(config, row.value("config", ""), "\n"), context).score(group, true);
    for (size_t i = 0; i < group.responses.size(); ++i) {
      CAPTURE(i);
      check_dot(row, i, group.responses[i]);
    }
    const Json wanted = row.value("numbers", Json::object());
    for (const auto& [name, value] : wanted.items()) {
      CAPTURE(name);
      CHECK(number(numbers, cat("dot/", name)) == value.get<double>());
    }
    if (row.contains("advantages")) check_near(advantages(rewards_of(group)), row["advantages"]);
  }
}

TEST_CASE("dot shortens everything that runs along the tokens") {
  Group group;
  group.prompt.answer = "7";
  group.prompt.verify = "last_integer";
  for (int i = 0; i < 15; ++i) group.responses.push_back(token_response(200, "7"));
  group.responses.push_back(token_response(900, "7"));
  Response& last = group.responses.back();
  last.text[10] = '7';  // an answer that outlives the cut
  last.ids[10] = '7';
  ScoringContext context;
  context.decode = decode;
  const auto numbers =
      chain_of("[[reward]]\ntype = \"accuracy\"\n[[transform]]\ntype = \"dot\"\n", context)
          .score(group, false);
  CHECK(last.num_tokens == 768);
  CHECK(last.logprobs.size() == 768);
  CHECK(last.versions == std::vector<std::pair<int64_t, int32_t>>{{4, 150}, {5, 618}});
  CHECK(last.think.end == 768);
  CHECK(last.answer_span.begin == 768);
  CHECK(last.answer_span.end == 768);
  CHECK(last.finish_reason == FinishReason::stop);
  CHECK(last.correct == true);
  CHECK(last.reward == 1.0);
  CHECK(number(numbers, "dot/cut") == 1);
  CHECK(number(numbers, "dot/broken_answers") == 0);
  CHECK(number(numbers, "dot/mixed_after_cut") == 0);
}

TEST_CASE("dot without token ids") {
  Group group;
  group.prompt.id = "p9";
  group.prompt.answer = "7";
  group.prompt.verify = "final_digit";
  for (int i = 0; i < 16; ++i) group.responses.push_back(response_of("#7.", i == 15 ? 900 : 200));
  ScoringContext context;
  context.decode = decode;
  const std::string accuracy = "[[reward]]\ntype = \"accuracy\"\n[[transform]]\ntype = \"dot\"\n";
  Group copy = group;
  const std::string message = refusal([&] { chain_of(accuracy, context).score(copy, false); });
  CHECK(holds(message, "prompt p9 has 0 token ids and 900 tokens"));
  CHECK(holds(message, "on_cut = \"force_zero\""));

  chain_of(accuracy + "on_cut = \"force_zero\"\n", {}).score(group, false);
  CHECK(group.responses[15].num_tokens == 768);
  CHECK(group.responses[15].text == "#7.");
  CHECK(group.responses[15].correct == false);
  CHECK(group.responses[15].reward == 0.0);
}

TEST_CASE("rewards that compare a group see it after the cut") {
  Group group;
  group.prompt.answer = "7";
  group.prompt.verify = "final_digit";
  for (int i = 0; i < 16; ++i)
    group.responses.push_back(token_response(i == 15 ? 900 : 200, "#7."));
  ScoringContext context;
  context.decode = decode;
  const ScoringChain chain = chain_of(
      "[[reward]]\ntype = \"test_share_of_longest\"\n[[transform]]\ntype = \"dot\"\n", context);
  chain.score(group, false);
  CHECK(group.responses[15].reward == 1.0);                          // 768 of 768
  CHECK(group.responses[0].reward == doctest::Approx(200.0 / 900));  // as scored before the cut
}

TEST_CASE("explanations list the steps") {
  Group group;
  group.prompt.answer = "7";
  group.prompt.verify = "final_digit";
  group.prompt.row = "{}";
  for (int i = 0; i < 16; ++i)
    group.responses.push_back(token_response(i == 15 ? 900 : 200, "#7."));
  group.responses.push_back(token_response(200, "#7."));
  group.responses.back().text = cat("\"quoted\\ \xFF ", std::string(300, 'x'), "#7.");
  ScoringContext context;
  context.decode = decode;
  chain_of(
      "[[reward]]\ntype = \"accuracy\"\nweight = 2\n[[reward]]\ntype = \"format\"\nkind = "
      "\"hash\"\n"
      "[[transform]]\ntype = \"dot\"\n",
      context)
      .score(group, true);
  const Json steps = parse_json(group.responses[15].explain, "explain");
  std::vector<std::string> kinds;
  for (const Json& step : steps) kinds.push_back(step["step"].get<std::string>());
  CHECK(kinds == std::vector<std::string>{"verify", "reward", "reward", "sum", "transform",
                                          "verify", "reward", "reward", "sum"});
  CHECK(dump_json(steps[0]) ==
        R"({"step":"verify","rule":"final_digit","correct":true,"how":"found 7, want 7"})");
  CHECK(dump_json(steps[1]) ==
        R"({"step":"reward","name":"accuracy","value":1.0,"weight":2.0,"how":"right"})");
  CHECK(steps[3]["reward"] == 3.0);
  CHECK(steps[4]["T"].get<double>() == group.responses[15].num_tokens);
  CHECK(steps[5]["how"] == "found nothing, want 7");
  CHECK(steps[8]["reward"] == 0.0);
  CHECK(parse_json(group.responses[16].explain, "explain").size() == 5);

  // Scoring again starts afresh.
  chain_of("", {}).score(group, true);
  CHECK(parse_json(group.responses[0].explain, "explain").size() == 2);
  CHECK(holds(group.responses[0].explain, R"("reward":null,"how":"no reward is configured")"));
}

TEST_CASE("rewards say whether they look at lengths") {
  const ScoringChain chain = chain_of(
      "[[reward]]\ntype = \"accuracy\"\n[[reward]]\ntype = \"length_penalty\"\n"
      "[[reward]]\ntype = \"length_surrogate\"\n[[reward]]\ntype = \"overlong\"\nname = \"soft\"\n"
      "[[reward]]\ntype = \"column\"\nkey = \"a\"\n"
      "[[reward]]\ntype = \"column\"\nname = \"b\"\nkey = \"b\"\ndepends_on_length = true\n",
      {.num_generations = 1, .max_completion_length = 10, .think_end = {}, .decode = {}});
  CHECK(chain.length_rewards() ==
        std::vector<std::string>{"length_penalty", "length_surrogate", "soft", "b"});
  Group group;
  group.responses = {response_of("", 10)};
  chain.score(group, true);
  CHECK(holds(group.responses[0].explain,
              R"("name":"soft","value":-1.0,"weight":1.0,"depends_on_length":true)"));
}

TEST_CASE("scoring again forgets what was masked") {
  Group group;
  group.responses = {response_of("1", 10)};
  group.responses[0].finish_reason = FinishReason::length;
  chain_of("[[transform]]\ntype = \"overlong_mask\"\n", {}).score(group, false);
  CHECK(group.responses[0].masked);
  chain_of("", {}).score(group, false);
  CHECK(!group.responses[0].masked);
}

TEST_CASE("effective configuration names rewards by their names") {
  ScoringChain chain;
  ConfigFile file = ConfigFile::parse(
      "[[reward]]\ntype = \"accuracy\"\nname = \"right\"\nweight = 0.5\n", "t.toml");
  file.bind([&](Binder& root) { chain.bind(root, {}); });
  for (const KeyRecord& key : file.keys()) CHECK(key.section == "reward.right");
  CHECK(file.effective() ==
        "[[reward]]\ntype = \"accuracy\"\nname = \"right\"\nweight = 0.5\nonly_if = \"\"\n"
        "min_solve_rate = 0.0\nnormalize = \"none\"\nschedule_steps = []\nwrong_score = 0.0\n");
}

}  // namespace vernier
