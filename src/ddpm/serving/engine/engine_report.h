#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/serving/engine/device_mark.h"
#include "ddpm/serving/engine/engine_call.h"

namespace ddpm {

/// Some rows of a batch on their way to the CPU.
struct CopiedRows {
  std::vector<int64_t> rows = {};  ///< Their indices in the batch.
  Tensor values = {};  ///< From the first to the last of them, once the report's copies are there.
};

/// What is to be told of an image that a call brought forward.
struct ReportedRow {
  EngineTicket ticket = 0;
  int64_t image = 0;  ///< Of the request.
  int64_t steps = 0;  ///< Taken.
  double t = 0;       ///< Of the call.
  bool ends_step = false;
  bool is_drawn = false;  ///< The call was its last.
};

/// What is to be told of a network call.
struct CallReport {
  std::vector<ReportedRow> rows = {};
  Tensor magnitudes = {};  ///< [rows] float32 on the CPU, not finite where a row is not; undefined:
                           ///< nobody needs to know now.
  CopiedRows previews = {};
  CopiedRows images = {};                         ///< Of the rows that are drawn.
  EngineClock::time_point began = {};             ///< When the call was prepared.
  std::shared_ptr<const DeviceMark> copied = {};  ///< On a GPU: after it the copies are there.
};

/// Moves the images of a call past it, tells their traces, and begins to copy what else is to be
/// told. Images that are drawn leave their slots.
CallReport begin_report(EngineLane& lane, const LaneCall& call, const EngineOptions& options,
                        EngineClock::time_point now);

/// Tells the events of a call, whose copies are there: for each image its progress, with a
/// preview where one is due, and its end. Images that are not finite leave their slots; requests
/// whose images all ended get their outcome. What ended meanwhile is not told of.
void finish_report(EngineLane& lane, const CallReport& report, EngineStats& stats);

}  // namespace ddpm
