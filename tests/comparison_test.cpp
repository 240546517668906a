// compare: two sides on the same prompts, from rows with answers in closed form.
#include "tools/comparison.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/testing.h"

namespace vernier {
namespace {

struct Row {
  std::string problem;
  int64_t sample = 0, num_tokens = 0;
  Json correct;
  std::string finish_reason = "stop", response = "";
};

// Rows of groups in order of their problems' first rows.
std::string write_rows(const fs::path& path, const std::vector<Row>& rows) {
  std::string text;
  std::vector<std::string> problems;
  for (const Row& row : rows) {
    auto place = std::ranges::find(problems, row.problem);
    if (place == problems.end()) place = problems.insert(place, row.problem);
    text += dump_json({{"problem", row.problem},
                       {"group", place - problems.begin()},
                       {"sample", row.sample},
                       {"answer", "7"},
                       {"verify", "last_integer"},
                       {"response", row.response},
                       {"num_tokens", row.num_tokens},
                       {"finish_reason", row.finish_reason},
                       {"correct", row.correct}}) +
            "\n";
  }
  write_file(path, text);
  return path.string();
}

Comparison compared(const std::vector<std::string>& paths, bool gap = false,
                    const ComparisonOptions& options = {}) {
  std::vector<Side> sides;
  for (const std::string& path : paths) sides.push_back(read_side(path, options));
  return compare_sides(std::move(sides), gap, options);
}

TEST_CASE("compare: differences, wins and p-values of rows in closed form") {
  testing::TemporaryFolder folder;
  const std::string first = write_rows(folder.path() / "a.jsonl", {{"p", 0, 10, true},
                                                                   {"p", 1, 30, false},
                                                                   {"q", 0, 40, false},
                                                                   {"q", 1, 40, false},
                                                                   {"r", 0, 20, true},
                                                                   {"only a", 0, 99, true}});
  const std::string second =
      write_rows(folder.path() / "b.jsonl", {{"p", 0, 10, true},
                                             {"q", 0, 20, true},
                                             {"q", 1, 20, false},
                                             {"q", 2, 7, true, "deadline"},
                                             {"r", 0, 15, nullptr, "stop", "so 7"},
                                             {"only b", 0, 1, nullptr, "aborted"}});
  const Comparison found = compared({first, second});
  REQUIRE(found.pairs.size() == 1);
  const PairComparison& pair = found.pairs[0];
  CHECK(pair.num_prompts == 3);
  CHECK(pair.only_first == 1);
  CHECK(pair.only_second == 0);  // it has nothing that counts
  CHECK(found.sides[1].num_unmeasured == 2);
  // p: 1 - 1/2, q: 1/2 - 0, r: 1 - 1 (judged by its rule).
  CHECK(pair.accuracy.value == doctest::Approx(1.0 / 3));
  CHECK(pair.length.value == doctest::Approx((-10 - 20 - 5) / 3.0));
  CHECK(pair.length_ratio.value == doctest::Approx(45.0 / 80));
  CHECK(pair.accuracy_p == 0.5);  // of four signs two are as far
  CHECK(pair.length_p == 2.0 / 8);
  CHECK(pair.wins.win.value == doctest::Approx((0.75 + 0.75 + 0.5) / 3));
  CHECK(pair.aes == doctest::Approx(35.0 / 80 + 3 * (2.5 - 1.5) / 1.5));

  const Json json = comparison_json(found);
  CHECK(json.at("sides").at(0).at("num_samples") == 6);
  CHECK(json.at("pairs").at(0).at("accuracy_difference") == pair.accuracy.value);
  CHECK(comparison_text(found).find("3 shared prompts (1 only in the first") != std::string::npos);

  // Itself, and the other way round.
  const Comparison same = compared({first, first});
  CHECK(same.pairs[0].wins.controlled.value == 0.5);
  CHECK(same.pairs[0].accuracy_p == 1);
  const Comparison swapped = compared({second, first});
  CHECK(swapped.pairs[0].wins.controlled.value + pair.wins.controlled.value == doctest::Approx(1));
  CHECK(swapped.pairs[0].length_ratio.value == doctest::Approx(80.0 / 45));

  // Of three sides all pairs, with p-values that hold together.
  const Comparison three = compared({first, second, first});
  REQUIRE(three.pairs.size() == 3);
  CHECK(three.pairs[0].length_p_holm == 0.75);
  CHECK(three.pairs[1].length_p_holm == 1);
}

TEST_CASE("compare: lengths in words of the answer") {
  testing::TemporaryFolder folder;
  const std::string first = write_rows(
      folder.path() / "a.jsonl", {{"p", 0, 9, true, "stop", "well well well</think> it is 7"}});
  const std::string second =
      write_rows(folder.path() / "b.jsonl", {{"p", 0, 9, true, "stop", "7"}});
  ComparisonOptions words;
  words.unit = "words";
  CHECK(compared({first, second}, false, words).pairs[0].length.value == -5);
  words.after = "</think>";
  CHECK(compared({first, second}, false, words).pairs[0].length.value == -2);
}

TEST_CASE("compare: supervision gap recovered") {
  testing::TemporaryFolder folder;
  const auto write = [&](const char* name, int right) {
    std::vector<Row> rows;
    for (int i = 0; i < 40; ++i) rows.push_back({cat("p", i), 0, 5, i < right});
    return write_rows(folder.path() / name, rows);
  };
  const std::string none = write("none.jsonl", 8), easy = write("easy.jsonl", 20),
                    hard = write("hard.jsonl", 24), barely = write("barely.jsonl", 9);
  const Comparison found = compared({none, easy, hard}, true);
  REQUIRE(found.gap);
  CHECK(found.gap->recovered.value == doctest::Approx(12.0 / 16));
  CHECK(found.gap->hard_gain.value == doctest::Approx(0.4));
  CHECK(comparison_json(found).at("supervision_gap").at("recovered") == doctest::Approx(0.75));
  // Nothing to recover: a ratio to nothing is not a number.
  const Comparison nothing = compared({none, easy, barely}, true);
  CHECK(std::isnan(nothing.gap->recovered.value));
  CHECK(comparison_text(nothing).find("undefined: training on hard prompts gains") !=
        std::string::npos);
}

TEST_CASE("compare: what cannot be compared is told") {
  testing::TemporaryFolder folder;
  const std::string first = write_rows(folder.path() / "a.jsonl", {{"p", 0, 9, true}});
  const std::string other = write_rows(folder.path() / "b.jsonl", {{"q", 0, 9, true}});
  CHECK(testing::usage_error([&] {
          compared({first, other});
        }).find("share no prompt") != std::string::npos);
  const std::string dead =
      write_rows(folder.path() / "c.jsonl", {{"p", 0, 9, nullptr, "deadline"}});
  CHECK(testing::usage_error([&] {
          compared({first, dead});
        }).find("no response with a verdict (0 without one, 1 that the policy did not end)") !=
        std::string::npos);
  std::string text = read_file(first);
  text.replace(text.find("\"7\""), 3, "\"8\"");
  const std::string changed = (folder.path() / "d.jsonl").string();
  write_file(changed, text);
  CHECK(testing::usage_error([&] {
          compared({first, changed});
        }).find("not the same prompts") != std::string::npos);
  fs::create_directories(folder.path() / "run");
  write_file(folder.path() / "run" / "metrics.jsonl", "");
  CHECK(testing::usage_error([&] {
          read_side((folder.path() / "run").string(), {});
        }).find("a run without an evaluation") != std::string::npos);
}

}  // namespace
}  // namespace vernier
