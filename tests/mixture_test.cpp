// Mixtures of prompts: shares, order, curricula, and that a resumed run asks for the same.
#include "rollout/mixture.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>

#include "core/base/text.h"
#include "rollout/parquet_rows.h"
#include "rollout/prompts.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::TemporaryFolder;
using testing::usage_error;

// Prompt i of it is "NAME i".
class Counter final : public PromptSource {
 public:
  explicit Counter(std::string name, int64_t size = 0) : name_(std::move(name)), size_(size) {}
  std::vector<Prompt> take(int64_t first, int64_t count) const override {
    std::vector<Prompt> out;
    for (int64_t i = first; i < first + count; ++i) {
      Prompt& prompt = out.emplace_back();
      prompt.id = prompt.text = cat(name_, ' ', i);
      prompt.index = i;
    }
    return out;
  }
  int64_t size() const override { return size_; }

 private:
  std::string name_;
  int64_t size_;
};

Mixture mixture(const std::vector<double>& weights, const CurriculumConfig& curriculum = {}) {
  std::vector<MixturePart> parts;
  for (size_t i = 0; i < weights.size(); ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    parts.push_back({name, weights[i], std::make_unique<Counter>(name, i == 0 ? 50 : 0)});
  }
  return Mixture(std::move(parts), curriculum, 7);
}

std::vector<std::string> texts(const PromptSource& source, int64_t first, int64_t count) {
  std::vector<std::string> out;
  for (const Prompt& prompt : source.take(first, count)) out.push_back(prompt.text);
  return out;
}

TEST_CASE("mixture: shares are the weights, and every source goes on in its own order") {
  const Mixture mixed = mixture({1, 3, 0});
  std::map<char, int64_t> next;
  int64_t place = 0;
  for (const Prompt& prompt : mixed.take(0, 4000)) {
    CHECK(prompt.index == place++);
    CHECK(prompt.text == cat(prompt.text[0], ' ', next[prompt.text[0]]++));
    CHECK(prompt.id == cat(prompt.text[0], '/', prompt.text));
    CHECK(prompt.source == prompt.text[0] - 'a');
  }
  CHECK(next['c'] == 0);
  CHECK(std::abs(static_cast<double>(next['a']) - 1000) < 4 * std::sqrt(4000 * 0.25 * 0.75));
  // However they are asked for.
  CHECK(texts(mixed, 100, 50) == std::vector<std::string>([&] {
          const auto all = texts(mixed, 0, 150);
          return std::vector<std::string>(all.begin() + 100, all.end());
        }()));
}

TEST_CASE("mixture: a restored one asks for the same, and counts on") {
  CurriculumConfig curriculum;
  curriculum.mode = "pass_rate";
  Mixture whole = mixture({1, 1}, curriculum), half = mixture({1, 1}, curriculum);
  const auto outcomes = [](const Mixture& mixed, int64_t first) {
    std::vector<SourceOutcome> out;
    for (const Prompt& prompt : mixed.take(first, 16))
      out.push_back({prompt.source, prompt.source == 0 ? 1.0 : 0.4});
    return out;
  };
  for (int64_t step = 0; step < 10; ++step) {
    whole.learn(16 * (step + 1), outcomes(whole, 16 * step));
    if (step < 4) half.learn(16 * (step + 1), outcomes(half, 16 * step));
  }
  Mixture resumed = mixture({1, 1}, curriculum);
  resumed.restore(Json::parse(half.state().dump()));
  for (int64_t step = 4; step < 10; ++step)
    resumed.learn(16 * (step + 1), outcomes(resumed, 16 * step));
  CHECK(resumed.state() == whole.state());
  CHECK(texts(resumed, 160, 64) == texts(whole, 160, 64));
  std::map<std::string, double> numbers;
  for (const auto& [name, value] : whole.numbers()) numbers[name] = value;
  CHECK(numbers["data/a/prompts"] + numbers["data/b/prompts"] == 160);
  CHECK(numbers["data/a/epochs"] == numbers["data/a/prompts"] / 50);
  CHECK(numbers.count("data/b/epochs") == 0);
  CHECK(numbers["data/a/pass_rate"] == 1.0);
  // exp(-4) of its weight for a pass rate of 1, two widths away; exp(-0.16) for 0.4.
  const double a = 0.05 + 0.95 * std::exp(-4), b = 0.05 + 0.95 * std::exp(-0.16);
  CHECK(numbers["data/a/share"] == doctest::Approx(a / (a + b)).epsilon(1e-12));
  Mixture other = mixture({1, 1, 1}, curriculum);
  CHECK(usage_error([&] {
          other.restore(whole.state());
        }).find("data.source: the checkpoint was") != std::string::npos);
}

TEST_CASE("mixture: sources join one after another, and stay") {
  CurriculumConfig curriculum;
  curriculum.mode = "unlock";
  curriculum.threshold = 0.75;
  curriculum.decay = 0;
  Mixture mixed = mixture({1, 1, 2}, curriculum);
  const auto learn = [&](int64_t next, double rate) {
    std::vector<SourceOutcome> outcomes;
    for (int32_t source = 0; source < 3; ++source) outcomes.push_back({source, rate});
    mixed.learn(next, outcomes);
    return mixed.shares();
  };
  CHECK(mixed.shares() == std::vector<double>{1, 0, 0});
  CHECK(learn(10, 0.7) == std::vector<double>{1, 0, 0});
  CHECK(learn(20, 0.75) == std::vector<double>{0.5, 0.5, 0});
  CHECK(learn(30, 0.1) == std::vector<double>{0.5, 0.5, 0});
  CHECK(learn(40, 0.9) == std::vector<double>{0.25, 0.25, 0.5});
}

TEST_CASE("mixture: evaluations have a share of each source, as far as it goes") {
  CHECK(apportioned({1, 1, 1}, 10) == std::vector<int64_t>{4, 3, 3});
  CHECK(apportioned({0, 2, 1}, 9) == std::vector<int64_t>{0, 6, 3});
  CHECK(apportioned({0.1, 0.2, 0.7}, 10) == std::vector<int64_t>{1, 2, 7});
  std::vector<MixturePart> parts;
  parts.push_back({"a", 1, std::make_unique<Counter>("a", 3)});
  parts.push_back({"b", 1, std::make_unique<Counter>("b", 100)});
  const EvaluationMixture mixed(std::move(parts), 12);
  CHECK(mixed.size() == 9);
  CHECK(texts(mixed, 0, 9) ==
        std::vector<std::string>{"a 0", "a 1", "a 2", "b 0", "b 1", "b 2", "b 3", "b 4", "b 5"});
  CHECK(texts(mixed, 2, 3) == std::vector<std::string>{"a 2", "b 0", "b 1"});
  CHECK(mixed.take(2, 2)[1].index == 3);
}

DataConfig data_of(const std::string& text) {
  ConfigFile file = ConfigFile::parse(text, "test");
  DataConfig data;
  file.bind([&](Binder& root) { root.table("data", [&](Binder& own) { data.bind(own); }); });
  return data;
}

TEST_CASE("mixture: of tasks and files, as [[data.source]] names them") {
  const TemporaryFolder folder;
  std::string rows;
  for (int i = 0; i < 10; ++i)
    rows += cat("{\"prompt\": \"p", i, "\", \"answer\": \"1\", \"difficulty\": ", i, "}\n");
  write_file(folder.path() / "rows.jsonl", rows);
  const std::string file = (folder.path() / "rows.jsonl").string();
  const DataConfig data = data_of(cat(R"(
[[data.source]]
task = "summation"
[data.source.summation]
lengths = [2, 3]
[[data.source]]
name = "easy"
train = ")",
                                      file, R"("
eval = ")",
                                      file, R"("
train_difficulty = [0, 0.3]
eval_difficulty = [0.7, 1]
difficulty_unit = "share"
)"));
  CHECK(data.has_training());
  CHECK(data.has_demonstrations());
  CHECK(data.demonstrated().longest == 3);
  const auto training = training_prompts(data, 1);
  std::set<std::string> seen;
  for (const Prompt& prompt : training->take(0, 200))
    if (prompt.source == 1) seen.insert(prompt.text);
  CHECK(seen == std::set<std::string>{"p0", "p1", "p2"});
  const auto evaluation = evaluation_prompts(data);
  CHECK(evaluation->size() == 203);
  std::set<std::string> hard;
  for (const Prompt& prompt : evaluation->take(200, 3)) {
    hard.insert(prompt.text);
    CHECK(prompt.id == cat("easy/", prompt.text.back()));  // its place in the file
  }
  CHECK(hard == std::set<std::string>{"p7", "p8", "p9"});
  for (int64_t i = 0; i < 20; ++i) CHECK(data.demonstrate(1, i, 2).prompt.size() == 4);
}

TEST_CASE("mixture: shares of rows that are alike in difficulty have none in common") {
  const TemporaryFolder folder;
  std::string rows;
  for (int i = 0; i < 10; ++i)
    rows +=
        cat("{\"prompt\": \"p", i, "\", \"answer\": \"1\", \"difficulty\": ", i < 8 ? 2 : 1, "}\n");
  write_file(folder.path() / "rows.jsonl", rows);
  const auto texts = [&](const std::string& range) {
    const DataConfig data = data_of(
        cat("[data]\ntrain = \"", (folder.path() / "rows.jsonl").string(),
            "\"\nshuffle = false\ntrain_difficulty = ", range, "\ndifficulty_unit = \"share\"\n"));
    std::string out;
    const auto prompts = training_prompts(data, 1);
    for (const Prompt& prompt : prompts->take(0, prompts->size())) out += prompt.text;
    return out;
  };
  CHECK(texts("[0, 0.3]") == "p0p8p9");
  CHECK(texts("[0.3, 0.7]") == "p1p2p3p4");
  CHECK(texts("[0.7, 1]") == "p5p6p7");
  CHECK(usage_error([&] { texts("[0.5, 0.5]"); }).find("0.5 to 0.5 as shares") !=
        std::string::npos);
}

TEST_CASE("prompts: an answer that no response can give is a mistake of the row") {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "rows.jsonl").string();
  const auto problem = [&](const std::string& rule, const std::string& answer) {
    write_file(path,
               cat("{\"prompt\": \"p\", \"answer\": ", answer, ", \"verify\": \"", rule, "\"}\n"));
    return usage_error(
        [&] { training_prompts(data_of(cat("[data]\ntrain = \"", path, "\"\n")), 1); });
  };
  CHECK(problem("marked", "\"x;\"") ==
        path +
            ":1: answer: no response is right by verify = \"marked\": \"x;\"; the rule leaves out "
            "what it has at its ends, or looks at a part of it alone");
  CHECK(problem("last_line", "\"a\\nb\"").find("answer: no response") != std::string::npos);
  for (const std::string rule : {"marked", "exact", "last_line"})
    CHECK(problem(rule, "\"7, 8\"").empty());
}

TEST_CASE("mixture: two sources of one family have instances of their own") {
  const std::string one = "[[data.source]]\ntask = \"summation\"\nname = ";
  const DataConfig data = data_of(one + "\"a\"\n" + one + "\"b\"\n");
  for (const auto& prompts : {training_prompts(data, 1), evaluation_prompts(data)}) {
    std::set<std::string> of_source[2];
    for (const Prompt& prompt : prompts->take(0, 200)) of_source[prompt.source].insert(prompt.text);
    int64_t common = 0;
    for (const std::string& text : of_source[0]) common += of_source[1].count(text);
    CHECK(common < 10);
  }
}

TEST_CASE("mixture: the effective configuration is read as the same") {
  for (const std::string& text :
       {std::string("[data]\ntask = \"summation\"\n[data.summation]\nlengths = [2, 3]\n"),
        std::string(R"(
[[data.source]]
task = "summation"
[data.source.summation]
lengths = [2, 3]
[[data.source]]
name = "second"
task = "addition"
weight = 3
[data.source.addition.chain]
atomic = false
[data.curriculum]
mode = "unlock"
)")}) {
    const auto effective = [](const std::string& from) {
      ConfigFile file = ConfigFile::parse(from, "test");
      DataConfig data;
      file.bind([&](Binder& root) { root.table("data", [&](Binder& own) { data.bind(own); }); });
      return file.effective();
    };
    const std::string once = effective(text);
    CHECK(effective(once) == once);
    CHECK(once.find("lengths = [2, 3]") != std::string::npos);
    CHECK(data_of(once).demonstrated().shortest == 2);
  }
}

TEST_CASE("mixture: what cannot be") {
  const auto problem = [](const std::string& text) { return usage_error([&] { data_of(text); }); };
  const std::string task = "[[data.source]]\ntask = \"summation\"\n";
  CHECK(problem(task + task).find("two sources are named summation") != std::string::npos);
  CHECK(problem(task + "weight = 0").find("is outside the allowed range, 1e-06 to ") !=
        std::string::npos);
  CHECK(problem("[[data.source]]\nname = \"x\"").find("neither task nor train nor eval") !=
        std::string::npos);
  CHECK(problem("[[data.source]]\ntrain = \"x\"").find("name: is needed") != std::string::npos);
  CHECK(problem("[data]\ntask = \"summation\"\n" + task).find("choose one") != std::string::npos);
  CHECK(problem("[data.curriculum]\nmode = \"unlock\"").find("there is none") != std::string::npos);
  CHECK(problem("[data.curriculum]\ntarget = 0.3").find("no effect with mode = \"none\"") !=
        std::string::npos);
  CHECK(problem("[data]\ntrain = \"x\"\ntrain_difficulty = [2, 1]").find("is not [low, high]") !=
        std::string::npos);
  CHECK(problem("[data]\ntrain = \"x\"\ndifficulty_unit = \"share\"").find("no effect") !=
        std::string::npos);
}

TEST_CASE("prompts: answers behind ####, in boxes, and rows of reasoning-gym") {
  const TemporaryFolder folder;
  const auto first = [&](const std::string& row, const std::string& keys) {
    write_file(folder.path() / "rows.jsonl", row + "\n");
    const DataConfig data =
        data_of(cat("[data]\ntrain = \"", (folder.path() / "rows.jsonl").string(), "\"\n", keys));
    return training_prompts(data, 1)->take(0, 1).front();
  };
  const std::string gsm = R"({"question": "q", "answer": "3 * 400 = 1200\n#### 1,200"})";
  CHECK(first(gsm, "answer_from = \"gsm8k\"\nverify = \"last_integer\"").answer == "1200");
  const std::string math = R"({"problem": "q", "solution": "It is $\\boxed{\\frac{1}{2}}$."})";
  CHECK(first(math, "answer_from = \"boxed\"\nverify = \"math\"").answer == "\\frac{1}{2}");
  CHECK(usage_error([&] { first(math, "answer_from = \"gsm8k\""); }).find("has no ####") !=
        std::string::npos);
  CHECK(usage_error([&] { first(gsm, "answer_from = \"boxed\""); }).find("has no \\boxed") !=
        std::string::npos);
  const Prompt gym =
      first(cat(R"({"question": "q", "answer": "5", "metadata": {"source_dataset": "chain_sum", )",
                R"("source_index": 3, "difficulty": {"num_terms": 4}}})"),
            "");
  CHECK(gym.task == "chain_sum");
  CHECK(*gym.difficulty == 4);
  CHECK(gym.answer == "5");
  const Prompt ranges = first(
      R"({"question": "q", "answer": "5", "metadata": {"difficulty": {"num_terms": [2, 4]}}})", "");
  CHECK_FALSE(ranges.difficulty.has_value());
  const Prompt several =
      first(R"({"prompt": "q", "answer": 4, "other_answers": ["four", 4.0]})", "");
  CHECK(several.other_answers == std::vector<std::string>{"four", "4.0"});
  CHECK(usage_error([&] {
          first(R"({"prompt": "q", "answer": 4, "other_answers": ["x"]})",
                "verify = \"last_integer\"");
        }).find("rows.jsonl:1: other_answers: rule last_integer") != std::string::npos);
}

TEST_CASE("prompts: of Parquet the same as of its JSON Lines" * doctest::skip(!reads_parquet())) {
  const auto prompts = [](const std::string& name) {
    const DataConfig data =
        data_of(cat("[data]\ntrain = \"", VERNIER_TEST_CASES, "/parquet/", name, "\"\n"));
    return training_prompts(data, 3)->take(0, 60);  // an epoch and a half
  };
  const std::vector<Prompt> want = prompts("verl.jsonl");
  CHECK(want[0].is_chat);
  for (const char* name : {"verl_snappy.parquet", "verl_zstd.parquet"}) {
    const std::vector<Prompt> found = prompts(name);
    for (size_t i = 0; i < want.size(); ++i) {
      CHECK(found[i].text == want[i].text);
      CHECK(found[i].answer == want[i].answer);
      CHECK(found[i].id == want[i].id);
      CHECK(found[i].task == want[i].task);
      CHECK(found[i].difficulty == want[i].difficulty);
      CHECK(found[i].row == want[i].row);
    }
  }
}

TEST_CASE("prompts: bad rows of Parquet are left out where that is asked for" *
          doctest::skip(!reads_parquet())) {
  const std::string keys =
      cat("[data]\ntrain = \"", VERNIER_TEST_CASES, "/parquet/bad_rows.parquet\"\n");
  CHECK(usage_error([&] {
          training_prompts(data_of(keys), 1);
        }).find("bad_rows.parquet, row 2: answer: bytes that are not UTF-8") != std::string::npos);
  const auto left = training_prompts(data_of(keys + "on_bad_row = \"skip\""), 1);
  REQUIRE(left->size() == 1);
  CHECK(left->take(0, 1)[0].text == "one");
}

TEST_CASE("prompts: a task of Natural Instructions") {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "task002_double.json").string();
  write_file(path,
             R"({"Definition": ["Double it."], "Positive Examples": [{"input": "1", "output": "2"}],
    "Instances": [{"id": "a", "input": "2", "output": ["4", "four"]}]})");
  const std::string keys = cat("[data]\ntrain = \"", path, "\"\ninstruction_examples = 1\n");
  const Prompt prompt = training_prompts(data_of(keys), 1)->take(0, 1)[0];
  CHECK(prompt.text ==
        "Definition: Double it.\n\n Positive Example 1 -\nInput: 1.\n Output: 2.\n\n"
        "Now complete the following example -\nInput: 2.\nOutput: ");
  CHECK(prompt.id == "a");
  CHECK(prompt.task == "task002_double");
  CHECK(prompt.answer == "4");
  CHECK(prompt.other_answers == std::vector<std::string>{"four"});
  CHECK(usage_error([&] {
          data_of("[data]\ntrain = \"x.jsonl\"\ninstruction_examples = 1");
        }).find("no effect with files that are not .json") != std::string::npos);
}

}  // namespace
}  // namespace vernier
