// Files of data: Parquet and .json give the rows that their JSON Lines have.
#include "rollout/row_file.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>

#include "rollout/parquet_rows.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::TemporaryFolder;
using testing::usage_error;

std::string case_path(const std::string& name) {
  return cat(VERNIER_TEST_CASES, "/parquet/", name);
}

std::vector<Json> rows_of(const std::string& path, int64_t examples = 0) {
  const RowFile file(path, examples);
  std::vector<Json> out;
  std::vector<RowFile::Row> places;
  file.each([&](const RowFile::Row& row, std::string_view text) {
    places.push_back(row);
    out.push_back(file.parse(row, text));
  });
  for (size_t i = places.size(); i-- > 0;) CHECK(file.read(places[i]) == out[i]);
  return out;
}

std::string written(const TemporaryFolder& folder, const std::string& name,
                    const std::string& text) {
  const fs::path path = folder.path() / name;
  write_file(path, text);
  return path.string();
}

// The mistakes of a file's rows, by their place.
std::map<int64_t, std::string> mistakes_of(const RowFile& file) {
  std::map<int64_t, std::string> out;
  file.each([&](const RowFile::Row& row, std::string_view text) {
    const std::string problem = usage_error([&] { file.parse(row, text); });
    if (!problem.empty()) out[row.number] = problem;
  });
  return out;
}

TEST_CASE("rows: JSON Lines, whatever their size and line ends") {
  const TemporaryFolder folder;
  const std::string large = cat("{\"a\": \"", std::string(600'000, 'x'), "\"}");
  const std::string path = written(
      folder, "rows.jsonl", cat("{\"a\": 1}\r\n\n \t\n", large, "\n", large, "\n{\"a\": 2}"));
  const std::vector<Json> rows = rows_of(path);
  REQUIRE(rows.size() == 4);
  CHECK(rows[1]["a"].get<std::string>().size() == 600'000);
  CHECK(rows[2] == rows[1]);
  CHECK(rows[3]["a"] == 2);
  const RowFile file(path);
  std::vector<RowFile::Row> places;
  file.each([&](const RowFile::Row& row, std::string_view) { places.push_back(row); });
  CHECK(file.where(places[1]) == path + ":4");
  write_file(path, "");  // another file: this one is still open
  CHECK(file.read(places[3])["a"] == 2);
  fs::resize_file(path, 0);
  CHECK(rows_of(path).empty());
  CHECK(usage_error([&] { RowFile(path + ".zst"); }).find("unpack the archive") !=
        std::string::npos);
  CHECK(usage_error([&] { RowFile(folder.path().string()); }).find("is not a file") !=
        std::string::npos);
  CHECK(usage_error([&] { RowFile(path + "x"); }).find("cannot be opened") != std::string::npos);
}

TEST_CASE("rows: a file that becomes shorter while it is in use") {
  const TemporaryFolder folder;
  const std::string path = written(folder, "rows.jsonl", "{\"a\": 1}\n{\"a\": 2}\n");
  const RowFile file(path);
  fs::resize_file(path, 9);
  CHECK(file.read({.offset = 0, .number = 1})["a"] == 1);
  CHECK_THROWS_WITH_AS(file.read({.offset = 9, .number = 2}),
                       (path + ": changed while it was in use").c_str(), RunError);
}

TEST_CASE("parquet: a build without it says what to do" * doctest::skip(reads_parquet())) {
  const std::string problem = usage_error([] { RowFile(case_path("types.parquet")); });
  CHECK(problem.find("types.parquet: this build does not read Parquet") != std::string::npos);
  CHECK(problem.find("tools/setup parquet") != std::string::npos);
}

TEST_CASE("parquet: the rows of the same JSON Lines" * doctest::skip(!reads_parquet())) {
  const Json cases = testing::golden("parquet/cases.json");
  for (const auto& [lines, files] : cases["same"].items()) {
    const std::vector<Json> want = rows_of(case_path(lines));
    REQUIRE(!want.empty());
    for (const Json& name : files) {
      CAPTURE(name);
      const std::vector<Json> found = rows_of(case_path(name.get<std::string>()));
      REQUIRE(found.size() == want.size());
      for (size_t i = 0; i < want.size(); ++i) CHECK(dump_json(found[i]) == dump_json(want[i]));
    }
  }
}

TEST_CASE("parquet: types without JSON, and rows without" * doctest::skip(!reads_parquet())) {
  const Json cases = testing::golden("parquet/cases.json");
  for (const auto& [name, why] : cases["refused"].items())
    CHECK(usage_error([&] {
            RowFile(case_path(name));
          }).starts_with(cat(case_path(name), ": ", why.get<std::string>())));
  for (const auto& [name, bad] : cases["bad_rows"].items()) {
    const auto found = mistakes_of(RowFile(case_path(name)));
    CHECK(found.size() == bad.size());
    for (const auto& [row, why] : bad.items())
      CHECK(found.at(std::stoll(row)) ==
            cat(case_path(name), ", row ", row, ": ", why.get<std::string>()));
  }
}

TEST_CASE("parquet: damaged files" * doctest::skip(!reads_parquet())) {
  const TemporaryFolder folder;
  const std::string whole = read_file(case_path("verl_zstd.parquet"));
  const auto problem = [&](const std::string& bytes) {
    const std::string path = written(folder, "rows.parquet", bytes);
    const std::string found = usage_error([&] { RowFile{path}; });
    CHECK((found.empty() || found.starts_with(path + ": ")));
    return found;
  };
  CHECK(problem(whole).empty());
  for (const size_t size : {size_t{0}, size_t{4}, size_t{100}, whole.size() / 2, whole.size() - 1})
    CHECK(!problem(whole.substr(0, size)).empty());
  CHECK(problem("{\"prompt\": \"x\"}\n").find("not a parquet file") != std::string::npos);
  std::string flipped = whole;
  flipped[flipped.size() / 3] ^= 0x10;  // in a page, whose checksum tells
  CHECK(!problem(flipped).empty());
}

constexpr const char* kTask = R"({
  "Definition": ["Add the two numbers"],
  "Categories": ["Arithmetic"],
  "Positive Examples": [
    {"input": " 1, 1 ", "output": "2", "explanation": "so"},
    {"input": "What is 1 and 2?", "output": "3.", "explanation": "so"}],
  "Negative Examples": [],
  "Instances": [
    {"id": "task1-a", "input": "2, 2\n", "output": ["4", "four"]},
    {"input": "Say \"x\"", "output": ["x"]},
    {"id": "task1-c", "input": "3", "output": []},
    {"id": "task1-d", "output": ["3"]}]
})";

TEST_CASE("natural instructions: as Tk-Instruct writes them") {
  const TemporaryFolder folder;
  const std::string path = written(folder, "task001_add.json", kTask);
  std::vector<Json> rows;
  const RowFile file(path);
  const auto bad = mistakes_of(file);
  CHECK(bad.size() == 2);
  CHECK(bad.at(3) == path + ", instance 3: output: []; a list of texts is wanted");
  CHECK(bad.at(4) == path + ", instance 4: has no input");
  const Json first = file.read({.offset = 0, .number = 1});
  CHECK(first["prompt"] ==
        "Definition: Add the two numbers.\n\nNow complete the following example -\nInput: 2, 2.\n"
        "Output: ");
  CHECK(first["answer"] == "4");
  CHECK(first["other_answers"] == Json::array({"four"}));
  CHECK(first["id"] == "task1-a");
  CHECK(first["input"] == "2, 2\n");
  CHECK(first["data_source"] == "task001_add");
  CHECK(first["Categories"] == Json::array({"Arithmetic"}));
  for (const int64_t examples : {2, 5}) {
    const RowFile with(path, examples);
    std::vector<std::string> texts;
    with.each([&](const RowFile::Row&, std::string_view text) { texts.emplace_back(text); });
    const Json second = parse_json(texts[1], "second");
    CHECK(second["prompt"] ==
          "Definition: Add the two numbers.\n\n Positive Example 1 -\nInput: 1, 1.\n Output: 2.\n\n"
          " Positive Example 2 -\nInput: What is 1 and 2?\n Output: 3.\n\n"
          "Now complete the following example -\nInput: Say \"x\"\nOutput: ");
    CHECK(second["id"] == "task001_add-2");
    CHECK(!second.contains("other_answers"));
  }
}

TEST_CASE("rows: .json files that are lists, lines, or neither") {
  const TemporaryFolder folder;
  const std::vector<Json> want = {{{"prompt", "one"}}, {{"prompt", "two"}}};
  CHECK(rows_of(written(folder, "list.json",
                        "[\n {\"prompt\": \"one\"},\n"
                        " {\"prompt\": \"two\"}]")) == want);
  const std::string lines =
      written(folder, "lines.json", "\n{\"prompt\": \"one\"}\n{\"prompt\": \"two\"}\n");
  CHECK(rows_of(lines) == want);
  CHECK(RowFile(lines).where({.offset = 1, .number = 2}) == lines + ":2");
  CHECK(rows_of(written(folder, "task.json",  // on one line
                        R"({"Definition": "Do", "Instances": [{"input": "x", "output": "y"}]})"))
            .at(0)["answer"] == "y");
  const auto problem = [&](const std::string& text) {
    const std::string path = written(folder, "x.json", text);
    const std::string found = usage_error([&] { RowFile{path}; });
    CHECK(found.starts_with(path));
    return found;
  };
  CHECK(problem("{\n\"train\": []}").find("is one object with train; a list of rows, a task of") !=
        std::string::npos);
  CHECK(problem("3").find("is 3; a list of rows") != std::string::npos);
  CHECK(problem("").find("not JSON") != std::string::npos);
  CHECK(problem("[{\"prompt\": 1}").find("not JSON") != std::string::npos);
  CHECK(problem("{\"Definition\": 3, \"Instances\": []}")
            .find("Definition: 3 is neither a text nor a list of texts") != std::string::npos);
  CHECK(problem("{\"Definition\": \"x\", \"Instances\": 3}").find("Instances: 3; a list") !=
        std::string::npos);
}

TEST_CASE("rows: a folder for copies that is not there") {
  const TemporaryFolder folder;
  const std::string path = written(folder, "list.json", "[]");
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("TMPDIR", (folder.path() / "none").c_str(), 1);
  CHECK(usage_error([&] { RowFile{path}; }).starts_with("TMPDIR: "));
  before == nullptr ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", kept.c_str(), 1);
}

}  // namespace
}  // namespace vernier
