#include "trainer/checkpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/comm/slices.h"
#include "core/kernels/adam8.h"
#include "core/model/adapters.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

constexpr int kManifestVersion = 1;
// Metadata of a slice of the optimizer's state: which of so many (core/comm/slices.h), of so many
// weights.
constexpr const char *kSlice = "slice", *kSlices = "slices", *kWeights = "weights";

// Order of a checkpoint's folder by its name, or nothing where it is another thing.
std::optional<std::pair<int, int64_t>> order_of(const std::string& name) {
  constexpr std::string_view kRl = "checkpoint-", kSft = "checkpoint-sft-";
  const bool sft = name.starts_with(kSft);
  if (!sft && !name.starts_with(kRl)) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(sft ? kSft.size() : kRl.size());
  int64_t step = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (problem != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return std::pair(sft ? 0 : 1, step);
}

std::vector<std::string> files_of(const fs::path& checkpoint) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(checkpoint))
    if (entry.is_regular_file())
      files.push_back(fs::relative(entry.path(), checkpoint).generic_string());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::pair<const char*, at::Tensor>> tensors_of(const OptimizerState& optimizer) {
  std::vector<std::pair<const char*, at::Tensor>> out;
  if (optimizer.in_bytes()) out = {{"scales1", optimizer.scales1}, {"scales2", optimizer.scales2}};
  out.emplace_back("moment1", optimizer.moment1);
  out.emplace_back("moment2", optimizer.moment2);
  return out;
}

DType dtype_of(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kByte ? DType::u8 : DType::f32;
}

void write_optimizer(const fs::path& path, const OptimizerState& optimizer) {
  std::vector<SafetensorsWriter::Planned> plan;
  for (const auto& [name, tensor] : tensors_of(optimizer))
    plan.push_back({name, {tensor.numel()}, dtype_of(tensor)});
  std::map<std::string, std::string> metadata;
  if (optimizer.is_slice())
    metadata = {{kSlice, cat(optimizer.slice)},
                {kSlices, cat(optimizer.slices)},
                {kWeights, cat(optimizer.weights)}};
  SafetensorsWriter writer(path, plan, metadata);
  for (const auto& [name, tensor] : tensors_of(optimizer)) {
    const at::Tensor here = tensor.cpu();
    if (dtype_of(tensor) == DType::u8)
      writer.write(here.const_data_ptr<uint8_t>());
    else
      writer.write(here.const_data_ptr<float>());
  }
  writer.commit();
}

// Of this rank; "" where it has nothing to write.
std::string optimizer_file(const OptimizerState& optimizer, const Ranks& ranks) {
  if (!optimizer.is_slice()) return ranks.first() ? "optimizer.safetensors" : "";
  if (optimizer.count() == 0) return "";
  return cat("optimizer-", optimizer.slice + 1, "-of-", optimizer.slices, ".safetensors");
}

// The one text that a manifest has: with a hash of itself, so that no byte of it can change unseen.
std::string manifest_text(Json manifest) {
  const std::string body = manifest.dump();
  manifest["xxh3"] = hash_bytes(body.data(), body.size());
  return manifest.dump(1) + "\n";
}

Json entry_of(const fs::path& file) {
  return {{"size", fs::file_size(file)}, {"xxh3", hash_file(file)}};
}

// `known`: entries of files that others have hashed.
void write_manifest(const fs::path& folder, const Json& known) {
  Json files = known;
  for (const std::string& name : files_of(folder))
    if (!files.contains(name)) files[name] = entry_of(folder / name);
  for (const auto& [name, entry] : known.items())
    if (!fs::exists(folder / name))
      fail_run(folder.string(), ": ", name,
               " was written by another rank and is not seen here: the "
               "ranks need one file system");
  write_file(folder / "trainer" / "manifest.json",
             manifest_text({{"version", kManifestVersion}, {"files", files}}));
}

int64_t number_in(const SafetensorsFile& file, const char* key, int64_t otherwise) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) return otherwise;
  int64_t value = -1;
  const std::string& text = found->second;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 0)
    fail(file.path(), ": metadata '", key, "' is '", text, "', not a number");
  return value;
}

// What of a tensor of the state a file has: of a number for every `per` weights. Returns how many
// weights that was.
int64_t read_moment(const SafetensorsFile& file, const char* name, const OptimizerState& state,
                    const at::Tensor& out, int64_t per) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr || tensor->dtype != dtype_of(out))
    fail(file.path(), ": tensor '", name, "' is ",
         tensor == nullptr ? "not there" : name_of(tensor->dtype), ", the optimizer's is ",
         name_of(dtype_of(out)), ": the run was made with another trainer.optimizer");
  if (file.metadata().contains("begin"))
    fail(file.path(),
         ": slices of the optimizer's state were cut otherwise when this was written, "
         "by an older version, which can go on from it; begin anew with this one");
  const Slices cut(state.weights, number_in(file, kSlices, 1)), own(state.weights, state.slices);
  const int64_t slice = number_in(file, kSlice, 0);
  const auto numbers = [&](int64_t weights) { return (weights + per - 1) / per; };
  if (number_in(file, kWeights, state.weights) != state.weights || slice >= cut.ranks ||
      tensor->numel() != numbers(cut.size(slice)))
    fail(file.path(), ": tensor '", name, "' does not fit this model");
  const int64_t size = tensor->dtype == DType::u8 ? 1 : 4;
  int64_t found = 0;
  const auto read = [&](int64_t from, int64_t to, int64_t weights) {
    const int64_t count = numbers(weights);
    const at::Tensor here = at::empty({count}, out.options().device(at::kCPU));
    file.read_bytes(*tensor, static_cast<uint64_t>(from / per * size),
                    static_cast<uint64_t>(count * size), here.data_ptr());
    out.narrow(0, to / per, count).copy_(here);
    found += weights;
  };
  // The same slices as before, or all of them, in one piece.
  if (cut.ranks == own.ranks) {
    if (slice == state.slice) read(0, 0, own.size(slice));
    return found;
  }
  own.for_blocks(state.slice, 0, state.weights, [&](int64_t at, int64_t to, int64_t weights) {
    const int64_t block = at / Slices::kBlock;
    if (block % cut.ranks == slice) read(block / cut.ranks * Slices::kBlock, to, weights);
  });
  return found;
}

std::vector<fs::path> optimizer_files(const fs::path& checkpoint) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(checkpoint / "trainer"))
    if (entry.path().filename().string().starts_with("optimizer") &&
        entry.path().extension() == ".safetensors")
      out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

void read_optimizer(const fs::path& checkpoint, OptimizerState& state) {
  int64_t found = 0;
  for (const fs::path& path : optimizer_files(checkpoint)) {
    const SafetensorsFile file(path, true);
    for (const auto& [name, tensor] : tensors_of(state)) {
      const bool scales = std::string_view(name).starts_with("scales");
      const int64_t some =
          read_moment(file, name, state, tensor, scales ? kernels::kMomentBlock : 1);
      if (std::string_view(name) == "moment1") found += some;
    }
  }
  if (found != state.count())
    fail(checkpoint.string(), ": the optimizer's files have ", found, " of the ", state.count(),
         " weights of slice ", state.slice + 1, " of ", state.slices);
}

}  // namespace

namespace {

// A half-deleted folder must not look like a checkpoint: first it is made invalid by its name.
fs::path grave_of(const fs::path& checkpoint) { return checkpoint.string() + ".deleted"; }

void bury(const fs::path& checkpoint) {
  fs::remove_all(grave_of(checkpoint));
  fs::rename(checkpoint, grave_of(checkpoint));
}

// Where there is a checkpoint already the two change names at once, if the file system can do that.
void put_in_place(const fs::path& draft, const fs::path& target) {
  if (::renameat2(AT_FDCWD, draft.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return;
  if (fs::exists(target)) bury(target);
  fs::rename(draft, target);
}

Json state_of(const fs::path& checkpoint) {
  const fs::path path = checkpoint / "trainer" / "state.json";
  Json state = parse_json(read_file(path), path.string());
  state.emplace("guard", nullptr);  // not in those of runs that knew no guard
  return state;
}

}  // namespace

std::string checkpoint_name(const Progress& progress) {
  return cat(progress.phase == "sft" ? "checkpoint-sft-" : "checkpoint-", progress.step);
}

void save_checkpoint(const fs::path& run, Decoder& decoder, const Tokenizer& tokenizer,
                     const OptimizerState& optimizer, const Progress& progress) {
  Ranks alone;
  save_checkpoint(run, decoder, tokenizer, optimizer, progress, alone);
}

namespace {

// What one rank writes: the model and where the run stands.
void write_common(const fs::path& draft, Decoder& decoder, const Tokenizer& tokenizer,
                  const Json& state) {
  save_model(decoder, tokenizer, draft);
  if (const Adapters* adapters = decoder.adapters()) {
    fs::create_directories(draft / kAdapterFolder);
    adapters->save(draft / kAdapterFolder);
    sync_folder(draft / kAdapterFolder);
  }
  write_file(draft / "trainer" / "state.json", state.dump(1) + "\n");
}

// The draft is whole: gives it its name.
void commit(const fs::path& run, const fs::path& draft, const fs::path& target) {
  sync_folder(draft / "trainer");
  sync_folder(draft);
  put_in_place(draft, target);
  sync_folder(run);
  fs::remove_all(draft);
  fs::remove_all(grave_of(target));
}

}  // namespace

void save_checkpoint(const fs::path& run, Decoder& decoder, const Tokenizer& tokenizer,
                     const OptimizerState& optimizer, const Progress& progress, Ranks& ranks) {
  const fs::path target = run / checkpoint_name(progress);
  const Json state = {{"version", kManifestVersion},
                      {"phase", progress.phase},
                      {"step", progress.step},
                      {"last_eval", progress.last_eval},
                      {"nonfinite_in_a_row", progress.nonfinite_in_a_row},
                      {"next_prompt", progress.next_prompt},
                      {"pass_rates", progress.pass_rates},
                      {"algorithm", progress.algorithm},
                      {"rewards", progress.rewards},
                      {"guard", progress.guard},
                      {"data", progress.data},
                      {"optimizer_step", optimizer.step}};
  const fs::path draft = run / (checkpoint_name(progress) + ".tmp");
  const bool there = ranks.first() && check_checkpoint(target).empty() && state_of(target) == state;
  if (ranks.first() && !there) {
    fs::remove_all(draft);
    fs::create_directories(draft / "trainer");
  }
  if (ranks.any(there, "checkpoint")) return;
  if (ranks.first())
    write_common(draft, decoder, tokenizer, state);
  else if (decoder.store() != nullptr)
    for (const NamedSlice& slice : decoder.slices()) decoder.slice(slice);  // as the first one does
  if (decoder.store() != nullptr) decoder.store()->release();
  Json own = Json::object();
  if (const std::string name = optimizer_file(optimizer, ranks); !name.empty()) {
    const fs::path path = draft / "trainer" / name;
    write_optimizer(path, optimizer);
    own["trainer/" + name] = entry_of(path);
  }
  Json known = Json::object();
  for (const std::string& one : ranks.gather_to_first(own.dump(), "files of a checkpoint"))
    if (!one.empty()) known.update(Json::parse(one));
  if (!ranks.first()) return;
  write_manifest(draft, known);
  commit(run, draft, target);
}

std::vector<fs::path> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<std::pair<int, int64_t>, fs::path>> found;
  if (fs::is_directory(run))
    for (const auto& entry : fs::directory_iterator(run))
      if (const auto order = order_of(entry.path().filename().string()))
        found.emplace_back(*order, entry.path());
  std::sort(found.begin(), found.end());
  std::vector<fs::path> out;
  for (auto& [order, path] : found) out.push_back(std::move(path));
  return out;
}

std::string check_checkpoint(const fs::path& checkpoint) {
  try {
    const fs::path path = checkpoint / "trainer" / "manifest.json";
    if (!fs::exists(path)) return "it has no manifest: it was not finished";
    const std::string text = read_file(path);
    Json manifest = parse_json(text, path.string());
    manifest.erase("xxh3");
    if (manifest_text(manifest) != text) return "its manifest does not have its own hash";
    if (manifest.value("version", 0) != kManifestVersion)
      return cat("its manifest has version ", dump_json(manifest.value("version", Json())));
    for (const auto& [name, entry] : manifest.at("files").items()) {
      const fs::path file = checkpoint / name;
      if (fs::path(name).is_absolute() || name.find("..") != std::string::npos)
        return cat("its manifest names ", name);
      if (!fs::exists(file)) return cat(name, " is missing");
      if (fs::file_size(file) != entry.at("size").get<uintmax_t>())
        return cat(name, " has ", fs::file_size(file), " bytes, the manifest says ",
                   dump_json(entry.at("size")));
      if (hash_file(file) != entry.at("xxh3").get<std::string>())
        return cat(name, " does not have the hash of the manifest");
    }
    const Json& files = manifest.at("files");
    for (const char* needed : {"model.safetensors", "config.json", "trainer/state.json"})
      if (!files.contains(needed)) return cat("its manifest lacks ", needed);
    const auto has_optimizer = [](const auto& file) {
      return file.key().starts_with("trainer/optimizer");
    };
    for (auto file = files.begin(); file != files.end(); ++file)
      if (has_optimizer(file)) return "";
    return "its manifest lacks trainer/optimizer.safetensors";
  } catch (const Error& problem) {
    return problem.what();
  } catch (const std::exception& problem) {  // damaged JSON, files that cannot be read
    return problem.what();
  }
}

std::optional<fs::path> find_checkpoint(const fs::path& run) {
  std::vector<fs::path> all = list_checkpoints(run);
  while (!all.empty()) {
    const std::string problem = check_checkpoint(all.back());
    if (problem.empty()) return all.back();
    log::warn(cat(all.back().string(), ": not used: ", problem));
    all.pop_back();
  }
  return std::nullopt;
}

namespace {

// Files step_N.* of steps after `last`: a report must not take them for the run's newest.
void set_aside(const fs::path& folder, int64_t last) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> later;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kStep = "step_";
    int64_t step = 0;
    if (!name.starts_with(kStep) || name.ends_with(".superseded")) continue;
    const auto parsed =
        std::from_chars(name.data() + kStep.size(), name.data() + name.size(), step);
    if (parsed.ec == std::errc() && step > last) later.push_back(entry.path());
  }
  for (const fs::path& path : later) fs::rename(path, path.string() + ".superseded");
}

}  // namespace

void clear_after(const fs::path& run, const fs::path* start) {
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("checkpoint-") && (name.ends_with(".tmp") || name.ends_with(".deleted")))
      leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path);
  // The beginning comes before every checkpoint.
  const std::pair<int, int64_t> kept = start == nullptr
                                           ? std::pair<int, int64_t>(-1, -1)
                                           : order_of(start->filename().string()).value();
  for (const fs::path& path : list_checkpoints(run)) {
    if (*order_of(path.filename().string()) <= kept) continue;
    const bool damaged = !check_checkpoint(path).empty();
    fs::path aside = path;
    aside += damaged ? ".damaged" : ".superseded";
    fs::remove_all(aside);
    fs::rename(path, aside);
    log::warn(cat(path.string(), " is now ", aside.filename().string()));
  }
  const int64_t last = kept.first == 1 ? kept.second : -1;
  for (const char* folder : {"eval", "rollouts"}) set_aside(run / folder, last);
}

Progress load_trainer_state(const fs::path& checkpoint, int64_t prompts_per_step,
                            OptimizerState& optimizer) {
  read_optimizer(checkpoint, optimizer);
  const fs::path path = checkpoint / "trainer" / "state.json";
  const Json state = parse_json(read_file(path), path.string());
  try {
    optimizer.step = state.at("optimizer_step").get<int64_t>();
    Progress progress{.phase = state.at("phase").get<std::string>(),
                      .step = state.at("step").get<int64_t>(),
                      .last_eval = state.at("last_eval").get<int64_t>(),
                      .nonfinite_in_a_row = state.at("nonfinite_in_a_row").get<int64_t>()};
    const int64_t drawn = progress.phase == "rl" ? progress.step * prompts_per_step : 0;
    progress.algorithm = state.value("algorithm", Json());
    progress.rewards = state.value("rewards", Json());
    progress.guard = state.value("guard", Json());
    progress.data = state.value("data", Json());
    progress.next_prompt = state.value("next_prompt", drawn);
    progress.pass_rates = state.value("pass_rates", std::vector<double>());
    return progress;
  } catch (const Json::exception& problem) {
    fail(path.string(), ": ", problem.what());
  }
}

void prune_checkpoints(const fs::path& run, int64_t keep, std::span<const int64_t> kept) {
  std::vector<std::pair<int64_t, fs::path>> rl;
  std::vector<fs::path> doomed, sft;
  for (const fs::path& path : list_checkpoints(run)) {
    const auto order = *order_of(path.filename().string());
    if (order.first == 0)
      sft.push_back(path);
    else if (order.second != 0 && std::ranges::find(kept, order.second) == kept.end())
      rl.emplace_back(order.second, path);
  }
  const bool begun = fs::exists(run / "checkpoint-0");
  for (size_t i = 0; i + (begun ? 0 : 1) < sft.size(); ++i) doomed.push_back(sft[i]);
  for (size_t i = 0; i + static_cast<size_t>(keep) < rl.size(); ++i) doomed.push_back(rl[i].second);
  for (const fs::path& path : doomed) {
    bury(path);
    fs::remove_all(grave_of(path));
  }
}

}  // namespace vernier
