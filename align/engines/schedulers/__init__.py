"""Schedules as the frameworks' own scheduler classes compute them: `native_rates(schedule, lr)` in each file.

What is compared is the learning rate that an optimizer uses in each update, from the first to the last of the schedule.
"""
