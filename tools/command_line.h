// Options of the command line that several commands have.
#pragma once

#include <CLI/CLI.hpp>

#include "tools/commands.h"

namespace vernier {

/// A number of [low, high]; CLI::Range takes "nan", of which no comparison holds.
CLI::Validator within(double low, double high);

/// --model, and what it is computed with.
void add_model(CLI::App* command, ModelOptions& options);

void add_generate(CLI::App& app, DrawOptions& options);
void add_eval(CLI::App& app, EvalOptions& options);
void add_compare(CLI::App& app, CompareOptions& options);

}  // namespace vernier
