// Log lines for people. The message arrives finished: no spdlog, no format strings here.
#pragma once

#include <string>
#include <string_view>

namespace vernier::log {

void info(std::string_view text);
void warn(std::string_view text);

/// From now on nothing of it is shown, only written to the file: what every rank of a job would
/// say.
void quiet();

/// Also writes every later line to `path` (appended). Throws UsageError where it cannot be opened.
void open_file(const std::string& path);

/// Shows `text` as the progress of a running job: on a terminal it replaces the line before it, in
/// a pipe it is a line of its own.
void progress(std::string_view text);

/// Ends a progress line on a terminal, so that what follows starts on a fresh line.
void end_progress();

}  // namespace vernier::log
