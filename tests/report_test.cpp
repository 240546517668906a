// Reports: closed forms for the numbers, synthetic run folders for the reading and the outputs.
#include "tools/report.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "rollout/rows.h"
#include "tests/testing.h"
#include "tools/report_data.h"
#include "tools/report_html.h"
#include "tools/report_stats.h"

using namespace vernier;

namespace {

using testing::TemporaryFolder;

void put(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

std::string rl_row(int step, const std::string& more = "") {
  return cat(
      R"({"step":)", step, R"(,"phase":"rl","accuracy":0.5,"completions/mean_length":20,)",
      R"("completions/clipped_ratio":0.25,"length/correct/mean":15,"length/wrong/mean":null,)",
      R"("time/step":2)", more, "}\n");
}

std::string eval_row(int step, double accuracy, double length) {
  return cat(R"({"step":)", step, R"(,"phase":"eval","eval/accuracy":)", accuracy,
             R"(,"eval/accuracy_low":)", accuracy - 0.1, R"(,"eval/accuracy_high":)",
             accuracy + 0.1, R"(,"eval/mean_length":)", length, R"(,"eval/mean_length_low":)",
             length - 1, R"(,"eval/mean_length_high":)", length + 1,
             R"(,"eval/num_prompts":40,"eval/num_samples":80})", "\n");
}

std::string answer_row(int group, int num_tokens, const std::string& correct,
                       const std::string& reason = "stop", const std::string& difficulty = "null") {
  return cat(R"({"group":)", group, R"(,"sample":0,"num_tokens":)", num_tokens, R"(,"correct":)",
             correct, R"(,"difficulty":)", difficulty, R"(,"finish_reason":")", reason, "\"}\n");
}

// A run with evaluations at steps 0 and 2 and one RL row.
fs::path make_run(const fs::path& parent, const std::string& name) {
  const fs::path run = parent / name;
  put(run / "metrics.jsonl", cat(R"({"step":0,"phase":"sft","loss":2})", "\n", eval_row(0, 0.5, 20),
                                 rl_row(1), rl_row(2), eval_row(2, 0.75, 15)));
  std::string first, last;
  for (int group = 0; group < 40; ++group)
    for (int sample = 0; sample < 2; ++sample) {
      first += answer_row(group, 10 + 20 * sample, sample == 0 ? "true" : "false");
      last += answer_row(group, 15, group % 4 == 0 ? "false" : "true", sample ? "length" : "stop");
    }
  put(run / "eval" / "step_0.jsonl", first);
  put(run / "eval" / "step_2.jsonl", last);
  put(run / "config.toml", "[run]\nname = \"<b>\"\n");
  return run;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no UsageError";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// `counts[i]` answers of length `lengths[i]`, of which a share is right, each to its own prompt.
std::vector<JudgedAnswer> answers_of(const std::vector<int64_t>& lengths,
                                     const std::vector<double>& shares, int64_t count) {
  std::vector<JudgedAnswer> out;
  for (size_t i = 0; i < lengths.size(); ++i)
    for (int64_t k = 0; k < count; ++k) {
      const bool right = static_cast<double>(k) < shares[i] * static_cast<double>(count);
      out.push_back({.group = static_cast<int64_t>(out.size()),
                     .num_tokens = lengths[i],
                     .correct = right,
                     .difficulty = {}});
    }
  return out;
}

}  // namespace

TEST_CASE("the Pareto frontier holds what nothing beats in both ways") {
  const std::vector<TradeOff> points = {{30, 0.9}, {10, 0.5}, {20, 0.5},       {20, 0.8},
                                        {20, 0.7}, {40, 0.9}, {5, kUndefined}, {30, 0.9}};
  CHECK(pareto_frontier(points) == std::vector<size_t>{1, 3, 0});
  CHECK(pareto_frontier({}).empty());
}

TEST_CASE("the bootstrap of a constant has no width, and its mean is the ratio of sums") {
  const std::vector<std::vector<Tally>> constant(20, {{3, 4}});
  const Estimate flat = bootstrap_means(constant, {}).at(0);
  CHECK(flat.value == 0.75);
  CHECK(flat.low == 0.75);
  CHECK(flat.high == 0.75);

  const std::vector<std::vector<Tally>> uneven = {{{1, 1}}, {{0, 3}}};
  CHECK(bootstrap_means(uneven, {}).at(0).value == 0.25);
  CHECK(std::isnan(bootstrap_means({{{0, 0}}}, {}).at(0).value));
}

TEST_CASE("the bootstrap draws whole prompts and repeats itself") {
  std::vector<std::vector<Tally>> single, tenfold;
  for (int i = 0; i < 200; ++i) {
    const double right = i % 2;
    single.push_back({{right, 1}});
    tenfold.push_back({{10 * right, 10}});
  }
  const Estimate one = bootstrap_means(single, {}).at(0), ten = bootstrap_means(tenfold, {}).at(0);
  CHECK(one.low == doctest::Approx(ten.low));
  CHECK(one.high == doctest::Approx(ten.high));
  // Twice 1.96 standard errors of a half over 200 prompts, whatever the number of answers.
  CHECK(ten.high - ten.low == doctest::Approx(2 * 1.96 * 0.5 / std::sqrt(200.0)).epsilon(0.1));
  CHECK(bootstrap_means(single, {}).at(0).low == one.low);
}

TEST_CASE("Wilson's interval against published numbers") {
  const Estimate eight = wilson(8, 10);
  CHECK(eight.low == doctest::Approx(0.4902).epsilon(1e-3));
  CHECK(eight.high == doctest::Approx(0.9433).epsilon(1e-3));
  CHECK(wilson(0, 10).low == 0);
  CHECK(wilson(0, 10).high == doctest::Approx(0.2775).epsilon(1e-3));
  CHECK(std::isnan(wilson(0, 0).value));
}

TEST_CASE("quantile bins cover every value and keep equal values together") {
  std::vector<double> values(100);
  std::iota(values.begin(), values.end(), 1.0);
  const std::vector<double> edges = quantile_edges(values, 4);
  REQUIRE(edges.size() == 5);
  CHECK(edges[0] == 1);
  CHECK(edges[1] == 26);
  CHECK(edges[4] > 100);
  CHECK(quantile_edges({7, 7, 7, 7}, 4).size() == 2);
  CHECK(quantile_edges({}, 4).empty());

  std::vector<JudgedAnswer> answers;
  for (int64_t i = 0; i < 777; ++i)
    answers.push_back({i / 3, (i * i) % 91, i % 2 == 0, std::nullopt});
  const LengthCurve curve = length_curve("all", answers, {});
  int64_t total = 0;
  for (size_t i = 0; i < curve.bins.size(); ++i) {
    total += curve.bins[i].num_answers;
    if (i > 0) CHECK(curve.bins[i].low > curve.bins[i - 1].high);
  }
  CHECK(total == 777);
  CHECK(curve.num_prompts == 259);
}

TEST_CASE("an inverted U is flagged where it is one, and only there") {
  const std::vector<int64_t> lengths = {5, 10, 20, 40, 60, 80, 100, 120};
  const auto flagged = [&](const std::vector<double>& shares, int64_t count) {
    return length_curve("all", answers_of(lengths, shares, count), {}).inverted_u;
  };
  CHECK(flagged({.1, .2, .4, .7, .9, .7, .5, .3}, 60));
  CHECK_FALSE(flagged({.1, .2, .3, .4, .5, .6, .7, .8}, 60));
  CHECK_FALSE(flagged({.8, .7, .6, .5, .4, .3, .2, .1}, 60));
  CHECK_FALSE(flagged({.1, .2, .4, .7, .9, .9, .9, .88}, 60));   // no falling flank
  CHECK_FALSE(flagged({.5, .5, .5, .55, .6, .55, .5, .5}, 60));  // within the noise
  // A few answers that agree have a bootstrap without width; that is no evidence.
  CHECK_FALSE(flagged({0, 1, 1, 1, 1, 1, 1, 0}, 4));
  CHECK(length_curve("all", answers_of({5}, {.5}, 29), {}).bins.empty());
}

TEST_CASE("difficulties make bands, and the curve within a question is free of them") {
  // Hard questions have long answers and low accuracy; within each, the longer answer is right.
  std::vector<JudgedAnswer> answers;
  for (int64_t group = 0; group < 90; ++group) {
    const int64_t level = group % 3;
    for (int64_t k = 0; k < 4; ++k)
      answers.push_back({group, 20 * level + 3 * k, k >= level + 1, static_cast<double>(level)});
  }
  const std::vector<LengthCurve> bands = difficulty_curves(answers, {});
  REQUIRE(bands.size() == 3);
  CHECK(bands[1].label == "difficulty 1");
  CHECK(bands[1].num_answers == 120);
  const LengthCurve pooled = length_curve("all", answers, {});
  CHECK(pooled.bins.back().accuracy.value < 0.8);
  const LengthCurve within = within_question_curve(answers, {});
  CHECK(within.num_prompts == 90);
  CHECK(within.num_answers == 360);
  CHECK_FALSE(within.inverted_u);
  CHECK(within.bins.back().accuracy.value == doctest::Approx(0.5));  // 1 - mean(.75, .5, .25)
  CHECK(within.bins.front().accuracy.value == doctest::Approx(-0.5));
  CHECK(difficulty_curves(answers_of({5, 9}, {.5, .5}, 50), {}).empty());

  for (JudgedAnswer& answer : answers) answer.difficulty = static_cast<double>(answer.group % 9);
  const std::vector<LengthCurve> thirds = difficulty_curves(answers, {});
  REQUIRE(thirds.size() == 3);
  CHECK(thirds[0].label == "difficulty 0–2");
  CHECK(thirds[2].label == "difficulty 6–8");
  CHECK(thirds[0].num_answers + thirds[1].num_answers + thirds[2].num_answers == 360);
}

TEST_CASE("a running mean leaves gaps as they are") {
  const std::vector<double> out = running_mean(std::vector<double>{1, 3, kUndefined, 5, 9}, 3);
  CHECK(out[0] == 2);
  CHECK(out[1] == 2);
  CHECK(std::isnan(out[2]));
  CHECK(out[3] == 7);
}

TEST_CASE("a whole run is read") {
  const TemporaryFolder folder;
  const std::string path = make_run(folder.path(), "grpo").string();
  const Report report = make_report(std::vector<std::string>{path});
  REQUIRE(report.runs.size() == 1);
  const Run& run = report.runs[0];
  CHECK(run.name == "grpo");
  CHECK(run.num_sft_steps == 1);
  CHECK(run.num_steps() == 2);
  CHECK(run.wall_s() == 4);
  CHECK(std::isnan(run.train[0].wrong_mean));
  REQUIRE(run.checkpoints.size() == 2);
  CHECK(run.checkpoints[1].accuracy.low == doctest::Approx(0.65));
  CHECK(run.checkpoints[1].tokens_per_correct() == doctest::Approx(20));
  CHECK(run.checkpoints[0].right_length == doctest::Approx(10));
  CHECK(run.clipped_ratio() == doctest::Approx(0.5));
  CHECK(report.notes.empty());
  REQUIRE(report.frontier.size() == 1);
  CHECK(report.frontier[0].checkpoint == 1);
  REQUIRE(report.starts.size() == 1);
  CHECK(report.starts[0].pooled.num_answers == 80);
  CHECK(run.first_histogram.right.size() == run.first_histogram.wrong.size());
  CHECK(std::accumulate(run.first_histogram.right.begin(), run.first_histogram.right.end(), 0) ==
        40);

  const std::string second = make_run(folder.path(), "dot").string();
  const Report both = make_report(std::vector<std::string>{path, second + "/"});
  CHECK(both.runs[1].name == "dot");
  REQUIRE(both.starts.size() == 1);  // the same answers: one start policy
  CHECK(both.starts[0].runs.size() == 2);
}

TEST_CASE("what only the machine ended feeds no statistic, and differences are noted") {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "r";
  put(run / "metrics.jsonl", rl_row(1));
  put(run / "eval" / "step_0.jsonl",
      answer_row(0, 10, "true") + answer_row(1, 20, "false", "length") +
          answer_row(1, 900, "false", "deadline") + answer_row(2, 900, "null", "aborted"));
  Report report = make_report(std::vector<std::string>{run.string()});
  CHECK(report.runs[0].checkpoints[0].mean_length.value == 15);
  CHECK(report.runs[0].checkpoints[0].accuracy.value == 0.5);
  CHECK(report.runs[0].checkpoints[0].num_answers == 2);
  REQUIRE(report.notes.size() == 1);
  CHECK(has(report.notes[0], "2 responses of eval/step_0.jsonl"));

  put(run / "metrics.jsonl", eval_row(0, 0.9, 15));
  put(run / "eval" / "step_0.jsonl", answer_row(0, 10, "true") + answer_row(1, 20, "false"));
  report = make_report(std::vector<std::string>{run.string()});
  REQUIRE(report.notes.size() == 1);
  CHECK(has(report.notes[0], "states accuracy 0.9000 at step 0, its responses give 0.5000"));

  put(run / "metrics.jsonl", eval_row(0, 0.5, 15) + eval_row(5, 0.5, 15));
  report = make_report(std::vector<std::string>{run.string()});
  REQUIRE(report.notes.size() == 1);
  CHECK(has(report.notes[0], "has an evaluation at step 5 whose responses are not there"));
}

TEST_CASE("a torn last line is left out, any other bad line is an error with its place") {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "r";
  const std::vector<std::string> runs = {run.string()};
  put(run / "metrics.jsonl", rl_row(1) + R"({"step":2,"phase":"rl","accu)");
  Report report = make_report(runs);
  CHECK(report.runs[0].num_steps() == 1);
  REQUIRE(report.notes.size() == 2);
  CHECK(has(report.notes[0], "torn"));

  const auto message = [&](const std::string& content) {
    put(run / "metrics.jsonl", content);
    return message_of([&] { make_report(runs); });
  };
  CHECK(has(message(rl_row(1) + "{\"step\":2,\n" + rl_row(3)), "metrics.jsonl:2: not JSON"));
  CHECK(has(message(rl_row(1) + "{\"step\":2,\n"), "metrics.jsonl:2: not JSON"));  // not torn
  CHECK(has(message("{\"phase\":\"rl\"}\n"), "metrics.jsonl:1: no 'step'"));
  CHECK(has(message("{\"step\":1}\n"), "metrics.jsonl:1: no text at 'phase'"));
  CHECK(has(message("[1]\n"), "an object is wanted"));
  CHECK(has(message("{\"step\":1,\"phase\":\"rl\",\"accuracy\":\"high\"}\n"),
            "accuracy: is a string, not a number"));
  put(run / "metrics.jsonl", rl_row(1) + "{\"step\":1,\"phase\":\"dream\"}\n");
  CHECK(has(make_report(runs).notes[0], "'dream'"));

  put(run / "eval" / "step_0.jsonl", answer_row(0, 1, "true") + answer_row(0, 1, "true", "bored"));
  CHECK(has(message(rl_row(1)), "step_0.jsonl:2: finish_reason: is 'bored'"));
}

TEST_CASE("runs that lack a part still report what they have") {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "r";
  put(run / "metrics.jsonl", rl_row(1));
  const std::string header = "length\tcorrect\treward\tgroup\toffset\n";
  put(run / "rollouts" / "step_1.idx",
      header + "10\t1\t1\t0\t0\n30\t0\t-0.5\t0\t99\n20\t-\t-\t1\t200\n");
  put(run / "rollouts" / "step_2.idx", header + "8\t1\t1\t0\t0\n");
  put(run / "rollouts" / "step_x.idx", "not ours");
  const Report report = make_report(std::vector<std::string>{run.string()});
  CHECK(report.runs[0].sampled.tokens.num_answers == 4);
  CHECK(report.runs[0].sampled.tokens.tokens == 68);
  CHECK(report.runs[0].sampled.tokens.right_tokens == 18);
  CHECK(report.runs[0].first.rows.size() == 3);
  CHECK(report.runs[0].last.step == 2);
  CHECK(report.starts.size() == 1);
  CHECK(has(report.notes[0], "no evaluation"));
  CHECK(report_json(report)["accuracy"].is_null());
  CHECK(has(dump_json(report_json(report)), R"("step":null,"accuracy":null)"));
  CHECK_FALSE(report_page(report).empty());
  CHECK_FALSE(report_text(report).empty());
  CHECK_FALSE(has(report_text(report), "│"));  // one step is no curve
  CHECK(report_tables(report).size() == 10);   // with quantiles, optima and times

  put(run / "rollouts" / "step_2.idx", header + "8\tyes\t1\t0\t0\n");
  CHECK(has(message_of([&] { make_report(std::vector<std::string>{run.string()}); }),
            "step_2.idx:2: correct: 'yes'"));
}

TEST_CASE("an index tells how responses ended: deadlines are in no length") {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "r";
  put(run / "metrics.jsonl", rl_row(1));
  const std::string header = cat(kIndexHeader, "\n");
  put(run / "rollouts" / "step_1.idx",
      header + "10\t1\t1\t0\t0\tstop\n900\t-\t-\t0\t9\tdeadline\n30\t0\t0\t0\t20\tlength\n");
  const Report report = make_report(std::vector<std::string>{run.string()});
  CHECK(report.runs[0].sampled.tokens.tokens == 40);
  CHECK(report.runs[0].first.num_clipped == 1);
  CHECK(report.runs[0].sampled.fan.quantiles[2] == std::vector<double>{20});
  CHECK(has(report.notes[0], "1 responses sampled in training ended by a deadline"));
  put(run / "rollouts" / "step_1.idx", header + "10\t1\t1\t0\t0\tbored\n");
  CHECK(has(message_of([&] { make_report(std::vector<std::string>{run.string()}); }),
            "step_1.idx:2: finish_reason: 'bored'"));
}

TEST_CASE("stored rollouts: nothing that a configuration names is started, odd rows are a note") {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "r", touched = folder.path() / "touched";
  put(run / "metrics.jsonl", rl_row(1));
  put(run / "config.toml",
      cat("[data]\ntask = \"chain_sum\"\n[[reward]]\ntype = \"program\"\ncommand = ",
          "[\"touch\", \"", touched.string(), "\"]\n"));
  const auto store = [&](const std::string& row) {
    Group group;
    group.responses.resize(1);
    RolloutWriter writer(run / "rollouts", 1);
    writer.add(group, {row});
    writer.commit();
    return make_report(std::vector<std::string>{run.string()});
  };
  const std::string good =
      R"({"group":3,"sample":0,"problem":"p","response":"so 4","num_tokens":7,"correct":true})";
  Report report = store(good);
  CHECK_FALSE(fs::exists(touched));
  CHECK(has(report.runs[0].pushes_obstacle, "from outside"));
  CHECK(report.runs[0].samples["groups"][0]["samples"][0]["text"] == "so 4");
  CHECK(report.runs[0].lengths["groups"][0]["length"] == Json({7}));
  for (const std::string odd :
       {R"({"group":"x","num_tokens":7})", "[1]", R"({"num_tokens":7})",
        R"({"group":0,"num_tokens":"many"})", R"({"group":0,"num_tokens":7,"rewards":3})"}) {
    CAPTURE(odd);
    report = store(odd);
    CHECK(report.runs[0].samples.is_null());
    CHECK(std::ranges::any_of(report.notes, [](const std::string& note) {
      return has(note, "its stored rollouts are not shown: ") && has(note, "step_1.jsonl.zst:1");
    }));
    CHECK_FALSE(report_page(report).empty());
  }
  // What is missing or says nothing is shown as unknown.
  for (const std::string bare :
       {R"({"group":0,"num_tokens":7})", R"({"group":0,"num_tokens":7,"finish_reason":null})",
        R"({"group":0,"num_tokens":7,"versions":[[0,-1]]})"}) {
    CAPTURE(bare);
    report = store(bare);
    CHECK(report.runs[0].samples["groups"][0]["samples"][0]["num_tokens"] == 7);
    CHECK(report.runs[0].lengths["groups"][0]["correct"] == Json({nullptr}));
    CHECK_FALSE(report_page(report).empty());
  }
}

TEST_CASE("numbers that cannot be are refused, and a folder of runs is its runs") {
  const TemporaryFolder folder;
  const fs::path run = make_run(folder.path() / "runs", "r");
  put(run / "metrics.jsonl", R"({"step":0,"phase":"eval","eval/accuracy":5,"eval/mean_length":3})"
                             "\n");
  CHECK(has(message_of([&] { make_report(std::vector<std::string>{run.string()}); }),
            "metrics.jsonl:1: eval/accuracy: 5 is no share"));
  make_run(folder.path() / "runs", "s");
  fs::create_directory_symlink("s", folder.path() / "runs" / "link");
  const std::string all = (folder.path() / "runs").string();
  CHECK(find_runs({all}) == std::vector<std::string>{run.string(), all + "/s"});
  CHECK(find_runs({all, all + "/s"}).size() == 2);
  // What is no file is no run: a pipe would be waited for.
  const fs::path pipe = folder.path() / "runs" / "p";
  fs::create_directories(pipe);
  REQUIRE(::mkfifo((pipe / "metrics.jsonl").c_str(), 0600) == 0);
  CHECK(find_runs({all}).size() == 2);
}

TEST_CASE("a tolerant report leaves out a run that cannot be read, and says so") {
  const TemporaryFolder folder;
  const std::string good = make_run(folder.path(), "good").string();
  const fs::path bad = folder.path() / "bad";
  put(bad / "metrics.jsonl", "[1]\n");
  const std::vector<std::string> both = {good, bad.string()};
  CHECK(has(message_of([&] { make_report(both); }), "an object is wanted"));
  const Report report = make_report(both, {.tolerant = true});
  REQUIRE(report.runs.size() == 1);
  CHECK(has(join(report.notes), "bad: is left out: "));
}

TEST_CASE("folders that are not runs are named, all at once") {
  const TemporaryFolder folder;
  const std::string good = make_run(folder.path(), "good").string();
  const std::string empty = (folder.path() / "empty").string();
  fs::create_directories(empty);
  const std::string message = message_of([&] {
    make_report(std::vector<std::string>{empty, good, folder.path() / "missing", good + "/."});
  });
  CHECK(has(message, empty + ": is not a run: it has no metrics.jsonl"));
  CHECK(has(message, "missing: is not a folder"));
  CHECK(has(message, "is given twice"));

  const std::string other = make_run(folder.path() / "b", "good").string();
  const Report report = make_report(std::vector<std::string>{good, other});
  CHECK(report.runs[0].name == good);  // one folder name twice: the paths tell them apart
}

TEST_CASE("the page escapes what comes from outside and carries everything it needs") {
  const TemporaryFolder folder;
  const std::string path = make_run(folder.path(), "<script>alert('x')").string();
  const std::string page = report_page(make_report(std::vector<std::string>{path}));
  CHECK_FALSE(has(page, "<script>alert"));
  CHECK(has(page, "&lt;script&gt;alert(&#39;x&#39;)"));
  CHECK(has(page, "\\u003cscript>alert"));
  CHECK(has(page, "name = &quot;&lt;b&gt;&quot;"));
  CHECK(has(page, "default-src 'none'"));
  CHECK(has(page, "plotly.js v"));
  CHECK_FALSE(has(page, "src=\"http"));
  // Data element, plotly.js, our script: nothing that was put in closes one of them early.
  size_t closed = 0;
  for (size_t at = page.find("</script"); at != std::string::npos;
       at = page.find("</script", at + 1))
    ++closed;
  CHECK(closed == 3);
  CHECK(escape_html("a<b>&\"c'") == "a&lt;b&gt;&amp;&quot;c&#39;");
}

TEST_CASE("tables quote what needs it and state units") {
  CHECK(csv_text({"t", {"a [tokens]", "b"}, {{"1", "x,\"y\""}}}) ==
        "a [tokens],b\n1,\"x,\"\"y\"\"\"\n");
  const TemporaryFolder folder;
  const std::string path = make_run(folder.path(), "r").string();
  for (const DataTable& table : report_tables(make_report(std::vector<std::string>{path}))) {
    CAPTURE(table.name);
    for (const auto& row : table.rows) CHECK(row.size() == table.header.size());
    CHECK_FALSE(table.rows.empty());
  }
}

TEST_CASE("outputs are written, and nothing to write is an error") {
  const TemporaryFolder folder;
  const std::string run = make_run(folder.path(), "it's 'run' $(1)").string();
  ReportOptions options{.runs = {run}, .out = {}, .png = {}, .svg = {}, .csv = {}};
  CHECK(has(message_of([&] { write_report(options); }), "nothing to write"));
  options.text = options.json = true;
  CHECK(has(message_of([&] { write_report(options); }), "standard output"));
  options.text = options.json = false;
  options.out = (folder.path() / "out" / "report.html").string();
  options.csv = (folder.path() / "csv").string();
  write_report(options);
  CHECK(fs::file_size(options.out) > 1'000'000);
  CHECK(has(read_file(fs::path(options.csv) / "accuracy_against_length.csv"),
            "mean length [tokens]"));

  options.svg = (folder.path() / "svg").string();
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", folder.path().c_str(), 1);
  CHECK(has(message_of([&] { write_report(options); }), "gnuplot: is not on PATH"));
  ::setenv("PATH", path.c_str(), 1);
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) {
    MESSAGE("gnuplot is not installed: pictures were not drawn");
    return;
  }
  write_report(options);
  CHECK(has(read_file(fs::path(options.svg) / "accuracy_against_length.svg"), "it's 'run'"));
  CHECK(fs::exists(fs::path(options.svg) / "length_histograms.svg"));
}
