#include "core/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>

#include "core/base/errors.h"

namespace vernier::log {
namespace {

struct Sinks {
  std::shared_ptr<spdlog::sinks::sink> console =
      std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  std::shared_ptr<spdlog::logger> logger = std::make_shared<spdlog::logger>("vernier", console);
  std::mutex line_lock;
  std::atomic<bool> quiet{false};
  bool line_open = false;  // a progress line without its newline stands on the terminal

  Sinks() {
    console->set_pattern("%^%l%$: %v");
    logger->set_level(spdlog::level::debug);
    console->set_level(spdlog::level::info);
    logger->flush_on(spdlog::level::info);
  }
};

Sinks& sinks() {
  static Sinks instance;
  return instance;
}

void write(spdlog::level::level_enum level, std::string_view text) {
  end_progress();
  sinks().logger->log(level, spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace

void info(std::string_view text) { write(spdlog::level::info, text); }
void warn(std::string_view text) { write(spdlog::level::warn, text); }

void quiet() {
  sinks().quiet = true;
  sinks().console->set_level(spdlog::level::off);
}

void open_file(const std::string& path) {
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    file->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
    file->set_level(spdlog::level::debug);
    sinks().logger->sinks().push_back(std::move(file));
  } catch (const spdlog::spdlog_ex& problem) {
    fail(path, ": cannot be opened for the log: ", problem.what());
  }
}

void progress(std::string_view text) {
  Sinks& out = sinks();
  if (out.quiet) return;
  const std::lock_guard hold(out.line_lock);
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r\x1b[K%.*s", static_cast<int>(text.size()), text.data());
    out.line_open = true;
  } else {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  }
  std::fflush(stderr);
}

void end_progress() {
  Sinks& out = sinks();
  const std::lock_guard hold(out.line_lock);
  if (!out.line_open) return;
  std::fputc('\n', stderr);
  out.line_open = false;
}

}  // namespace vernier::log
