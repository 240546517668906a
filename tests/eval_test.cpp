// eval: cuts that equal runs with those limits, what is kept of an evaluation that was left, and
// every number of rows in closed form.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "rollout/rows.h"
#include "rollout/thinking_cut.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "tools/eval_store.h"
#include "tools/eval_table.h"

namespace vernier {
namespace {

using testing::tiny_model;

std::vector<Prompt> prompts_of(const Model& model, int64_t count) {
  std::vector<Prompt> prompts(static_cast<size_t>(count));
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].index = static_cast<int64_t>(i);
    prompts[i].id = cat(i);
    prompts[i].text = cat("a", i % 10, "b", i % 7, "=");
    prompts[i].ids = model.tokenizer->encode(prompts[i].text);
    prompts[i].answer = cat(i % 10);
    prompts[i].verify = "last_integer";
  }
  return prompts;
}

RolloutConfig drawn_with(int64_t thinking_budget, int64_t limit) {
  RolloutConfig config;
  config.num_generations = 5;
  config.max_completion_length = limit;
  config.think_end = "#";
  config.ending.thinking_budget = thinking_budget;
  config.ending.stop = {"3", "ab"};
  return config;
}

std::vector<Group> draw(Model& model, const RolloutConfig& config) {
  Engine engine(*model.decoder, *model.tokenizer);
  std::vector<Group> groups;
  draw_evaluation(engine, prompts_of(model, 9), config, 3, nullptr,
                  [&](Group&& group) { groups.push_back(std::move(group)); });
  std::ranges::sort(groups, {}, &Group::id);
  return groups;
}

void check_equal(const std::vector<Group>& found, const std::vector<Group>& want) {
  REQUIRE(found.size() == want.size());
  for (size_t g = 0; g < want.size(); ++g)
    for (size_t i = 0; i < want[g].responses.size(); ++i) {
      const Response &a = found[g].responses[i], &b = want[g].responses[i];
      CHECK(a.ids == b.ids);
      CHECK(a.logprobs == b.logprobs);
      CHECK(a.text == b.text);
      CHECK(a.flags == b.flags);
      CHECK(a.forced == b.forced);
      CHECK(a.finish_reason == b.finish_reason);
      CHECK(a.num_tokens == b.num_tokens);
      CHECK(a.first_correct == b.first_correct);
      CHECK(a.think.begin == b.think.begin);
      CHECK(a.think.end == b.think.end);
      CHECK(a.answer_span.begin == b.answer_span.begin);
      CHECK(a.answer_span.end == b.answer_span.end);
    }
}

TEST_CASE("a cut to a budget is the run with that limit") {
  Model model = tiny_model(false);
  const std::vector<Group> whole = draw(model, drawn_with(8, 40));
  for (const int64_t budget : {5, 8, 9, 14}) {
    CAPTURE(budget);
    std::vector<Group> cut = whole;
    for (Group& group : cut)
      for (Response& response : group.responses)
        cut_response(response, group.prompt, budget, *model.tokenizer);
    check_equal(cut, draw(model, drawn_with(8, budget)));
  }
}

TEST_CASE("thinking that ends at a budget is the run with that budget") {
  Model model = tiny_model(false);
  const std::vector<Group> whole = draw(model, drawn_with(12, 32));
  int64_t forced = 0;
  for (const int64_t budget : {1, 4, 7, 12}) {
    CAPTURE(budget);
    const RolloutConfig config = drawn_with(budget, budget + 20);
    Engine engine(*model.decoder, *model.tokenizer);
    std::vector<Group> found;
    end_thinking(engine, *model.tokenizer, model.decoder->spec(), config, evaluation_key(3), whole,
                 nullptr, [&](Group&& group) { found.push_back(std::move(group)); });
    std::ranges::sort(found, {}, &Group::id);
    check_equal(found, draw(model, config));
    for (const Group& group : found)
      for (const Response& response : group.responses) forced += std::ssize(response.forced);
  }
  CHECK(forced > 40);
}

TEST_CASE("an evaluation that was left goes on, and its rows come in order") {
  Model model = tiny_model(false);
  const std::vector<Group> groups = draw(model, drawn_with(8, 20));
  testing::TemporaryFolder folder;
  const std::string out = (folder.path() / "rows.jsonl").string();
  const Json options = {{"n", 5}, {"seed", 3}};
  {
    EvalStore store(out, options, 5);
    store.add(groups[4], "tempered");
    store.add(groups[1], "tempered");
    store.add(groups[0], "tempered");
    CHECK(testing::usage_error([&] { EvalStore(out, options, 5); }).find("another vernier") !=
          std::string::npos);
  }
  const fs::path rows = fs::path(out + ".part") / "rows.jsonl";
  // A crash: two rows of the last group and half of a third.
  std::string text = read_file(rows);
  size_t end = 0;
  for (int line = 0; line < 12; ++line) end = text.find('\n', end) + 1;
  write_file(rows, text.substr(0, end + 30));
  CHECK(testing::usage_error([&] {
          EvalStore(out, {{"n", 5}, {"seed", 4}}, 5);
        }).find("was begun with seed = 3, not 4") != std::string::npos);
  {
    EvalStore store(out, options, 5);
    CHECK(store.has(4));
    CHECK(store.has(1));
    CHECK(!store.has(0));
    int64_t seen = 0;
    store.each([&](Group&& group) {
      ++seen;
      CHECK(group.responses.size() == 5);
      check_equal({group}, {groups[static_cast<size_t>(group.id)]});
    });
    CHECK(seen == 2);
    CHECK(!fs::exists(out));
    for (const size_t i : {8, 7, 6, 5, 3, 2, 0}) store.add(groups[i], "tempered");
    store.finish();
  }
  CHECK(!fs::exists(out + ".part"));
  std::string want;
  for (const Group& group : groups)
    for (const std::string& row : row_texts(group, true, "tempered")) want += row + "\n";
  CHECK(read_file(out) == want);
}

// ---- numbers in closed form --------------------------------------------------------------------

struct Rows {
  testing::TemporaryFolder folder;
  std::string text;
  int64_t groups = 0;

  // A prompt with these columns, and responses that differ in these.
  void add(const Json& prompt, const std::vector<Json>& responses) {
    int64_t sample = 0;
    for (const Json& response : responses) {
      Json row = {{"group", groups}, {"sample", sample++}, {"num_tokens", 10}};
      row.update(prompt);
      row.update(response);
      text += dump_json(row) + "\n";
    }
    ++groups;
  }
  EvalNumbers numbers(TableOptions options = {}) {
    const fs::path path = folder.path() / "rows.jsonl";
    write_file(path, text);
    EvalTable table(std::nullopt, std::move(options));
    read_rollouts(path.string(), [&](Group&& group) {
      const std::vector<Candidate> judged = judge_group(group);
      table.add(group, judged);
    });
    return table.numbers();
  }
  // By name; -1 for one that is not there.
  double value(const std::string& name, const TableOptions& options = {}) {
    for (const LengthNumber& one : numbers(options).lengths)
      if (one.name == name) return one.value.value;
    return -1;
  }
};

std::string words(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += "word ";
  return out;
}

TEST_CASE("lengths: Ruler's bounds, and Self-Lengthen's score at a/2, a, b and 1.5 b") {
  Rows rows;
  rows.add({{"target_length", 80}},  // precise 70 to 90, flexible 60 to 100
           {{{"response", words(60)}},
            {{"response", words(61)}},
            {{"response", words(70)}},
            {{"response", words(71)}},
            {{"response", words(90)}},
            {{"response", words(91)}},
            {{"response", words(100)}},
            {{"response", words(101)}}});
  rows.add({{"target_length", ">800"}}, {{{"response", words(800)}}, {{"response", words(801)}}});
  CHECK(rows.value("ruler/pm/level_0") == 2.0 / 8);
  CHECK(rows.value("ruler/fm/level_0") == 6.0 / 8);
  CHECK(rows.value("ruler/pm/level_2") == 0.5);
  CHECK(rows.value("ruler/pm") == 3.0 / 10);  // over all responses
  CHECK(rows.value("ruler/fm") == 7.0 / 10);
  CHECK(rows.value("ruler/pm/level_1") == -1);
  Rows interval;
  interval.add({{"target_length", {40, 60}}}, {{{"response", words(20)}},
                                               {{"response", words(40)}},
                                               {{"response", words(60)}},
                                               {{"response", words(90)}},
                                               {{"response", words(30)}}});
  CHECK(interval.value("self_lengthen") == doctest::Approx((0 + 1 + 1 + 0 + 0.5) / 5));
  CHECK(interval.value("ruler/pm") == -1);
}

TEST_CASE("lengths: YapIndex of three rows, also of right answers, and what a reader sees") {
  Rows rows;
  const auto prompt = [](const char* task) {
    return Json{{"task", task}, {"baseline", "seven"}, {"answer", "7"}, {"verify", "last_integer"}};
  };
  rows.add(prompt("a"), {{{"response", "<think>long, long</think>it is 7"}}});  // 7 - 5
  rows.add(prompt("a"), {{{"response", "7"}}});                                 // none
  rows.add(prompt("c"), {{{"response", "nothing at all"}}});                    // 14 - 5, wrong
  const TableOptions options{.after = "</think>"};
  CHECK(rows.value("yap/a", options) == 1);
  CHECK(rows.value("yap/c", options) == 9);
  CHECK(rows.value("yap/index", options) == 5);
  CHECK(rows.value("yap/index/correct", options) == 1);  // no right answer in task c
  CHECK(rows.value("yap/a/correct", options) == 1);
  CHECK(rows.value("visible/characters", options) == doctest::Approx(22.0 / 3));
  CHECK(rows.value("visible/words", options) == doctest::Approx(7.0 / 3));
  CHECK(rows.value("yap/a") > 10);  // all of the text
}

TEST_CASE("lengths: extension rounds") {
  Rows rows;
  const std::vector<std::vector<int>> verdicts = {{1, 1, 1, 1, 1}, {1, 1, 0, 1, 0}};
  for (size_t problem = 0; problem < verdicts.size(); ++problem)
    for (size_t round = 0; round < verdicts[problem].size(); ++round)
      rows.add(
          {{"problem", cat("p", problem, "-", round)}, {"group_id", problem}, {"round", round}},
          {{{"correct", verdicts[problem][round] == 1}}});
  CHECK(rows.value("rounds/accuracy_0") == 1);
  CHECK(rows.value("rounds/accuracy_2") == 0.5);
  CHECK(rows.value("rounds/coleg_e") == 0.5);  // one of two throughout
  CHECK(rows.value("rounds/coleg_r") == 0.5);
  CHECK(rows.value("rounds/drop") == 0.5);
  Rows bad;
  bad.add({{"round", "one"}, {"baseline", 0.7}}, {{{"correct", true}, {"response", "yes"}}});
  const EvalNumbers told = bad.numbers();
  REQUIRE(told.notes.size() >= 2);  // and no number of rounds, nor of a minimal answer
  CHECK(told.notes[0].find("'round' is \"one\" somewhere, not a whole number") !=
        std::string::npos);
  CHECK(told.notes[1].find("'baseline' is 0.7 somewhere, not a text") != std::string::npos);
  CHECK(bad.value("rounds/accuracy_0") == -1);
  CHECK(bad.value("yap/index") == -1);
  // Half of a character, as a cut leaves it.
  Group group;
  group.prompt.id = "p";
  group.responses.resize(1);
  group.responses[0].text = "caf\xc3";
  group.responses[0].num_tokens = 3;
  LengthNumbers numbers("");
  numbers.add(group, {});
  CHECK(numbers.numbers({})[0].value.value == 4);
}

TEST_CASE("lengths: tiers, compression, effective tokens") {
  Rows rows;
  rows.add({{"tier", "L"}}, {{{"correct", false}}, {{"correct", true}}});
  rows.add({{"tier", "S"}}, {{{"correct", true}}, {{"correct", true}}});
  rows.add({{"tier", "M"}}, {{{"correct", true}}, {{"correct", false}}, {{"correct", true}}});
  CHECK(rows.value("tiers/accuracy_S") == 1);
  CHECK(rows.value("tiers/ratio_M") == doctest::Approx(2.0 / 3));
  CHECK(rows.value("tiers/drop_L") == 0.5);
  CHECK(rows.value("tiers/ratio_S") == -1);  // the first tier is what others are measured by
  Rows short_ones;
  short_ones.add({{"source", words(20)}, {"reference", words(10)}},
                 {{{"response", words(12)}, {"num_tokens", 30}},
                  {{"response", words(6)}, {"num_tokens", 10}},
                  {{"response", "x"}, {"finish_reason", "deadline"}, {"num_tokens", 900}}});
  CHECK(short_ones.value("compression/delta_cr") == doctest::Approx(100 * (9.0 / 20 - 10.0 / 20)));
  CHECK(short_ones.value("effective_tokens") == doctest::Approx(40.0 / 60));
}

TEST_CASE("lengths: thinking and overthinking") {
  Rows rows;
  const Json prompt = {{"answer", "7"}, {"verify", "last_integer"}};
  const std::string again = "a b c d e f g h i j k l m a b c d e f g h i j k l m ";
  rows.add(prompt, {{{"response", "7. Wait, let me double-check: 7"},
                     {"first_correct", 2},
                     {"num_tokens", 8},
                     {"think", {0, 6}},
                     {"answer_span", {7, 8}}},
                    {{"response", "it was 7, no, 8"},
                     {"first_correct", 3},
                     {"num_tokens", 4},
                     {"think", {0, 4}},
                     {"answer_span", {4, 4}}},
                    {{"response", again}, {"num_tokens", 26}},
                    {{"response", "cut"}, {"finish_reason", "length"}, {"num_tokens", 26}}});
  CHECK(rows.value("overthinking/tokens") == 6);
  CHECK(rows.value("overthinking/share") == 6.0 / 8);
  CHECK(rows.value("overthinking/lost") == doctest::Approx(1.0 / 3));
  CHECK(rows.value("overthinking/rechecks") == 2.0 / 4);
  CHECK(rows.value("overthinking/repeats") == 1.0 / 4);
  CHECK(rows.value("overthinking/premature") == 1.0 / 4);  // one stopped without an answer
  CHECK(rows.value("thinking/tokens") == 5);
  CHECK(rows.value("thinking/share") == 10.0 / 12);
  CHECK(rows.value("thinking/unclosed") == 0.5);
  Rows diverse;
  diverse.add({{"problem", "p"}}, {{{"response", "a b a b a"}}, {{"response", "a b c"}}});
  CHECK(diverse.value("diversity/distinct_1") == doctest::Approx((0.4 + 1) / 2));
  CHECK(diverse.value("diversity/distinct_2") == doctest::Approx((0.5 + 1) / 2));
}

TEST_CASE("lengths: every number is explained") {
  const std::string page = read_file(fs::path(VERNIER_TEST_CASES) / "../../docs/lengths.md");
  for (const MetricDoc& doc : length_number_docs()) {
    CAPTURE(doc.name);
    CHECK(page.find("`" + doc.name + "`") != std::string::npos);
  }
}

TEST_CASE("choices: best of k by what rewards gave") {
  Rows rows;
  const auto response = [](bool correct, double format, double brevity) {
    return Json{{"correct", correct},
                {"rewards", {{"format", format}, {"brevity", brevity}}},
                {"reward", format + brevity}};
  };
  rows.add({{"problem", "p"}}, {response(true, 1, 0), response(false, 0, 1)});
  rows.add({{"problem", "q"}}, {response(true, 0, 0), response(false, 0, 1)});
  const EvalNumbers numbers = rows.numbers();
  REQUIRE(numbers.choices.size() == 2);
  std::map<std::string, double> best;
  for (const auto& [reward, value] : numbers.choices[1].best) best[reward] = value.value;
  CHECK(best == std::map<std::string, double>{{"brevity", 0}, {"format", 0.75}, {"reward", 0.25}});
  for (const auto& [reward, value] : numbers.choices[0].best) CHECK(value.value == 0.5);
  CHECK(numbers.choices[1].pass.value == 1);
  CHECK(eval_json(numbers).at("choices").at(1).at("best_by_reward").at("format").at("accuracy") ==
        0.75);
  CHECK(eval_text({numbers}, {}, 0).find("best of 2 by format: 0.750") != std::string::npos);
  CHECK(testing::usage_error([&] { rows.numbers({.ks = {3}}); }).find("--k: 3 is above 2") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
