-- A queued batch of some kilobytes stays in its row. Moved out of line (as every row of more than 2 kB is by default) it
-- cost as much again: two chunks in a second table, two entries in that table's index, and the same to delete them.
ALTER TABLE locate_queue SET (toast_tuple_target = 8160);
