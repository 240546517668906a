// Tables of requested lengths: Ruler's, those of a file, and what is wrong in one.
#include "rewards/length_table.h"

#include <doctest/doctest.h>

#include "tests/testing.h"

namespace vernier {
namespace {

std::shared_ptr<const LengthTable> table_of(const std::string& text) {
  const testing::TemporaryFolder folder;
  write_file(folder.path() / "t.toml", text);
  return LengthTable::read((folder.path() / "t.toml").string());
}

TEST_CASE("Ruler's table has its bounds") {
  const auto table = LengthTable::read("ruler");
  CHECK(table->unit() == "word_runs");
  struct Row {
    const char* target;
    int64_t level;
    double precise_low, precise_high, flexible_low, flexible_high;
  };
  const std::vector<Row> rows = {{"10", 0, 0, 20, 0, 20},        {"30", 0, 20, 40, 20, 40},
                                 {"50", 0, 40, 60, 40, 60},      {"80", 0, 70, 90, 60, 100},
                                 {"150", 1, 130, 170, 100, 200}, {"300", 1, 280, 320, 200, 400},
                                 {"500", 1, 450, 550, 400, 600}, {"700", 2, 630, 770, 600, 800}};
  REQUIRE(table->targets().size() == rows.size() + 1);
  std::string problem;
  for (const Row& row : rows) {
    CAPTURE(row.target);
    Prompt prompt;
    prompt.target_length = row.target;
    const LengthTarget* target = table->of(prompt, problem);
    REQUIRE(target != nullptr);
    CHECK(target->level == row.level);
    CHECK(target->precise.low == row.precise_low);
    CHECK(target->precise.high == row.precise_high);
    CHECK(target->flexible.low == row.flexible_low);
    CHECK(target->flexible.high == row.flexible_high);
    CHECK_FALSE(target->precise.hold(row.precise_low));  // more than the first,
    CHECK(target->precise.hold(row.precise_high));       // at most the second
  }
  const LengthTarget& most = table->targets().back();
  CHECK(most.text == "more than 800");
  CHECK_FALSE(most.precise.hold(800));
  CHECK(most.precise.hold(1e9));
  CHECK(table->taught_by(5)->name == "10");
  CHECK(table->taught_by(155)->name == "150");
  CHECK(table->taught_by(24) == nullptr);
  CHECK(table->taught_by(801)->name == ">800");
  Prompt other;
  CHECK(table->of(other, problem) == nullptr);
  CHECK(problem.empty());
  other.id = "p";
  other.target_length = "11";
  CHECK(table->of(other, problem) == nullptr);
  CHECK(problem ==
        "prompt p: target_length: 11 is none of 10, 30, 50, 80, 150, 300, 500, 700, >800");
}

TEST_CASE("a table of one's own, and what is wrong in one") {
  const auto table =
      table_of("unit = \"tokens\"\n[[target]]\nname = 5\nprecise = [2, 8]\nflexible = [0, 10]\n");
  CHECK(table->unit() == "tokens");
  CHECK(table->targets().front().text == "5");
  CHECK(table->taught_by(5) == nullptr);  // teaches none
  const auto problem = [](const std::string& target) {
    return testing::usage_error([&] { table_of("[[target]]\n" + target); });
  };
  const std::string good = "precise = [2, 8]\nflexible = [0, 10]\n";
  CHECK(problem("name = 5\n" + good).empty());
  CHECK(problem(good).find("name: is missing") != std::string::npos);
  CHECK(problem("name = 5\nflexible = [0, 10]\n").find("precise: is missing") != std::string::npos);
  CHECK(problem("name = 5\nprecise = [8, 2]\nflexible = [0, 1]\n").find("expected [low, high]") !=
        std::string::npos);
  CHECK(problem("name = 5\nprecice = [2, 8]\n" + good).find("precice: unknown key") !=
        std::string::npos);
  CHECK(problem("name = 5\n" + good + "[[target]]\nname = 5\n" + good).find("5 is there twice") !=
        std::string::npos);
  CHECK(problem("name = \"007\"\n" + good)
            .find("name: 007 is a number that is written in another way") != std::string::npos);
  CHECK(problem("name = 5\nprecise = [5, 5]\nflexible = [0, 10]\n")
            .find("precise: no length is more than 5 and at most 5") != std::string::npos);
  CHECK(testing::usage_error([] { table_of("unit = \"tokens\"\n"); }).find("no [[target]]") !=
        std::string::npos);
  CHECK(testing::usage_error([] {
          table_of("unit = \"token\"\n[[target]]\nname = 5\n");
        }).find("\"token\"") != std::string::npos);
  CHECK(testing::usage_error([] { LengthTable::read("/no/table.toml"); }).find("/no/table.toml") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
