#include "trainer/run_folder.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "core/base/config.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

fs::path created(fs::path path) {
  std::error_code problem;
  fs::create_directories(path, problem);
  if (problem) fail("run.dir: ", path.string(), ": cannot be created: ", problem.message());
  return path;
}

// Whether a row was written by the time the run stood at `progress`.
bool is_before(const Json& row, const Progress& progress) {
  const std::string phase = row.value("phase", std::string());
  const int64_t step = row.value("step", int64_t{-1});
  if (phase == "sft") return progress.phase == "rl" || step <= progress.step;
  if (phase == "eval") return progress.phase == "rl" && step <= progress.last_eval;
  return progress.phase == "rl" && step <= progress.step;
}

// "section.key" to value, of a configuration that we wrote ourselves.
std::map<std::string, std::string> keys_of(const std::string& effective) {
  std::map<std::string, std::string> keys;
  std::istringstream lines(effective);
  std::string section;
  std::map<std::string, int> entries;  // of each list of tables so far
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("[["))
      section = cat(line, " ", ++entries[line]);
    else if (line.starts_with('['))
      section = line;
    else if (const size_t equals = line.find(" = "); equals != std::string::npos)
      keys[section + " " + line.substr(0, equals)] = line.substr(equals + 3);
  }
  return keys;
}

// The configuration in a folder as this version reads it: a key that the run is older than has its
// default. As it stands, where this version refuses it.
std::string effective_of(const fs::path& path) {
  try {
    ConfigFile file = ConfigFile::load(path.string());
    RunConfig::load(file);
    return file.effective();
  } catch (const UsageError&) {
    return read_file(path);
  }
}

}  // namespace

RunFolder::RunFolder(fs::path path, bool owner) : path_(created(std::move(path))) {
  if (owner) lock_.emplace(path_);
}

int64_t RunFolder::last_evaluation(const Progress& progress) const {
  int64_t last = progress.last_eval;
  if (progress.phase != "rl" || !fs::exists(path_ / "metrics.jsonl")) return last;
  LineReader reader((path_ / "metrics.jsonl").string());
  std::string line;
  while (reader.next(line)) {
    if (!Json::accept(line)) continue;  // torn by a crash; open_metrics() repairs it
    const Json row = parse_json(line, reader.where());
    const int64_t step = row.value("step", int64_t{-1});
    if (row.value("phase", std::string()) == "eval" && step <= progress.step)
      last = std::max(last, step);
  }
  return last;
}

std::string RunFolder::origin() const {
  const fs::path path = path_ / "origin";
  return fs::exists(path) ? read_file(path) : "";
}

void RunFolder::set_origin(const std::string& checkpoint) const {
  if (lock_) write_file(path_ / "origin", checkpoint);
}

void RunFolder::open_metrics(const Progress& progress) {
  if (!lock_) return;
  const fs::path path = path_ / "metrics.jsonl";
  metrics_ = std::make_unique<LineAppender>(path);  // repairs a torn last line
  std::string kept, dropped, line;
  LineReader reader(path.string());
  while (reader.next(line)) {
    const bool keep = is_before(parse_json(line, reader.where()), progress);
    (keep ? kept : dropped) += line + "\n";
  }
  if (dropped.empty()) return;
  metrics_.reset();
  LineAppender attic(path_ / "metrics.dropped.jsonl");
  dropped.pop_back();
  attic.line(dropped);
  attic.sync();
  write_file(path, kept);
  metrics_ = std::make_unique<LineAppender>(path);
}

void RunFolder::open_board(const Progress& progress, const std::string& names) {
  if (!lock_) return;
  const bool rl = progress.phase == "rl";
  board_.emplace(path_, names, rl ? std::numeric_limits<int32_t>::max() : progress.step,
                 rl ? progress.step : -1);
}

void RunFolder::write_metrics(const Metrics& metrics) {
  if (lock_) metrics_->line(dump_json(metrics.row()));
  if (board_) board_->row(metrics.row());
}

void RunFolder::sync_metrics() {
  if (lock_) metrics_->sync();
  if (board_) board_->sync();
}

void RunFolder::mark_requeue(bool on) const {
  if (!lock_) return;
  if (on)
    write_file(path_ / "REQUEUE", "");
  else
    fs::remove(path_ / "REQUEUE");
}

void RunFolder::compare_config(const std::string& effective, bool resumes) const {
  if (!lock_) return;
  const fs::path path = path_ / "config.toml";
  if (!fs::exists(path)) return;
  const auto before = keys_of(effective_of(path)), now = keys_of(effective);
  std::set<std::string> keys;
  for (const auto& side : {before, now})
    for (const auto& [key, value] : side) keys.insert(key);
  std::string mistakes;
  for (const std::string& key : keys) {
    const auto value_in = [&](const auto& side) {
      const auto found = side.find(key);
      return found == side.end() ? std::string("not set") : found->second;
    };
    const std::string was = value_in(before), is = value_in(now);
    if (was == is) continue;
    const bool of_model = key == "[model] path" || key.starts_with("[model.new]");
    if (resumes && of_model)
      mistakes += cat(mistakes.empty() ? "" : "\n", path.string(), ": ", key, ": is ", was,
                      ", and the run goes on from its checkpoint; the configuration now says ", is,
                      ": set it back, or choose another folder with --run");
    else
      log::warn(cat(path.string(), " has ", key, " = ", was, "; it is now ", is));
  }
  if (!mistakes.empty()) throw UsageError(mistakes);
}

void RunFolder::write_config(const std::string& effective) {
  if (lock_) write_file(path_ / "config.toml", effective);
}

}  // namespace vernier
