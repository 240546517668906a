#include "tools/eval_store.h"

#include <fstream>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

std::string shown(const Json& value) { return dump_json(value).substr(0, 200); }

// What a part was begun with is what is asked for now.
void check_options(const fs::path& file, const Json& now) {
  const Json there = parse_json(read_file(file), file.string());
  for (const auto& [key, value] : now.items())
    if (there.value(key, Json()) != value)
      fail(file.string(), ": was begun with ", key, " = ", shown(there.value(key, Json())),
           ", not ", shown(value),
           "; give the options it was begun with, give another --out, or remove the folder");
}

}  // namespace

EvalStore::EvalStore(const std::string& out, const Json& options, int64_t num_generations)
    : out_(fs::is_symlink(out) ? fs::weakly_canonical(out) : fs::path(out)),
      part_(out_.string() + ".part"),
      rows_(part_ / "rows.jsonl") {
  std::error_code problem;
  fs::create_directories(part_, problem);
  if (problem) fail("--out: ", part_.string(), ": cannot be created: ", problem.message());
  lock_.emplace(part_);
  const fs::path file = part_ / "options.json";
  if (fs::exists(file))
    check_options(file, options);
  else
    write_file(file, dump_json(options) + "\n");
  appender_.emplace(rows_);
  find_groups(num_generations);
  if (!places_.empty())
    log::info(cat("goes on with ", places_.size(), " prompts of ", part_.string()));
}

void EvalStore::find_groups(int64_t num_generations) {
  std::ifstream file(rows_, std::ios::binary);
  std::string line;
  int64_t offset = 0, rows = 0, open = -1, number = 0;
  while (std::getline(file, line)) {
    const std::string where = cat(rows_.string(), ":", ++number);
    const Json row = parse_json(line, where);
    const auto group = row.find("group");
    if (group == row.end() || !group->is_number_integer()) fail(where, ": has no group");
    if (*group != open) {
      open = group->get<int64_t>();
      rows = 0;
      if (!places_.try_emplace(open, Place{offset, 0}).second)
        fail(where, ": group ", open, " comes again");
    }
    ++rows;
    offset += std::ssize(line) + 1;
    places_[open].size = offset - places_[open].offset;
  }
  size_ = offset;
  if (places_.empty() || rows == num_generations) return;
  size_ = places_[open].offset;  // a crash left a part of the last one
  places_.erase(open);
  fs::resize_file(rows_, static_cast<uintmax_t>(size_));
}

void EvalStore::each(const std::function<void(Group&&)>& use) const {
  if (!places_.empty()) read_rollouts(rows_.string(), use);
}

void EvalStore::add(const Group& group, const std::string& kind) {
  std::string rows;
  for (const std::string& row : row_texts(group, /*token_fields=*/true, kind)) rows += row + "\n";
  places_[group.id] = {size_, std::ssize(rows)};
  size_ += std::ssize(rows);
  rows.pop_back();  // which line() puts back
  appender_->line(rows);
}

void EvalStore::finish() {
  appender_->sync();
  std::ifstream part(rows_, std::ios::binary);
  DurableFile out(out_);
  std::string rows;
  for (const auto& [group, place] : places_) {
    rows.resize(static_cast<size_t>(place.size));
    part.seekg(place.offset);
    if (!part.read(rows.data(), place.size))
      fail_run(rows_.string(), ": group ", group, " cannot be read back");
    out.write(rows);
  }
  out.commit();
  fs::remove_all(part_);  // with its lock, which nobody else takes before
  lock_.reset();
}

}  // namespace vernier
