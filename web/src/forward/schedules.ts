import { makeSchedule, type NoiseSchedule } from '../lib/diffusion/schedule.ts';

export const kScheduleNames = ['linear1000', 'linear300', 'cosine', 'sigmoid'] as const;
export type ScheduleName = (typeof kScheduleNames)[number];

export const schedules: Record<ScheduleName, NoiseSchedule> = {
  linear1000: makeSchedule('linear', 1000),
  linear300: makeSchedule('linear', 300),
  cosine: makeSchedule('cosine', 1000),
  sigmoid: makeSchedule('sigmoid_alpha_bar', 1000),
};

/** Dashes tell the curves apart without colours. */
export const kDashes: Record<ScheduleName, string> = {
  linear1000: 'none',
  linear300: '8 4',
  cosine: '2 4',
  sigmoid: '10 3 2 3',
};
