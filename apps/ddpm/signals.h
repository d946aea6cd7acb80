#pragma once

namespace ddpm::app {

/// SIGINT and SIGTERM ask for a stop after the current step, SIGUSR1 for a checkpoint now. A second
/// SIGINT or SIGTERM ends the process at once, with 128 + its number.
void install_signal_handlers();

/// The signal that asked for a stop, or 0.
int stop_signal();

/// True once after each SIGUSR1.
bool take_save_request();

}  // namespace ddpm::app
