-- A range of days for all students, as one statement. No student has an invalid row, so none is looked for: only minutes are
-- limited.
--
-- What makes it fast:
--   * A student's events become ascending arrays of day numbers, and every figure of a day is a position in one of
--     them: width_bucket(number, days) counts, by a binary search in C, the events up to that day. A window of thirty
--     days is the difference of two positions. (Tried before: joins of daily sums with window functions over them, which
--     took longer. The arrays are of float8 because that search has no function call per comparison.)
--   * The arrays are built by one scan and one sort per table; probing a student at a time read a page per row. Only rows
--     before the range are probed.
--   * The averages are computed once per attempt; a day picks the one valid at its end.
--   * No lesson is completed before the first start, so a window of fewer than thirty days has the same lessons as thirty days:
--     `n` is needed as a divisor only.
--
-- Day number 30 is the first day of the range, 1 the first day of its window.
INSERT INTO performance_snapshots
WITH completed AS (
    SELECT user_id, array_agg(width_bucket(completed_at, :boundaries)::float8 ORDER BY completed_at) AS days
      FROM user_lesson_progress
     WHERE user_id BETWEEN :first_id AND :last_id AND completed_at >= :window_start AND completed_at < :end
     GROUP BY user_id
), started AS (
    SELECT user_id, array_agg(day::float8) AS days, array_agg(minutes) AS minutes
      FROM (SELECT user_id, day,
                   least(sum(least(time_spent_minutes, floor(date_part('epoch', day_end - started_at) / 60))),
                         date_part('epoch', day_end - (:boundaries)[day]) / 60) AS minutes
              FROM (SELECT user_id, day, started_at, time_spent_minutes,
                           (array_append(:boundaries, :end))[day + 1] AS day_end
                      FROM (SELECT user_id, started_at, time_spent_minutes,
                                   width_bucket(started_at, :boundaries) AS day
                              FROM user_lesson_progress
                             WHERE user_id BETWEEN :first_id AND :last_id
                               AND started_at >= :start AND started_at < :end) AS lesson) AS lesson
             GROUP BY user_id, day, day_end
             ORDER BY user_id, day) AS a_day
     GROUP BY user_id
), attempted AS (
    SELECT user_id,
           array_agg(day) AS days,
           coalesce(array_agg(day) FILTER (WHERE score IS NOT NULL), '{}') AS days_scored,
           array_agg(score) FILTER (WHERE score IS NOT NULL) AS scores
      FROM (SELECT user_id, width_bucket(completed_at, :boundaries)::float8 AS day, score
              FROM quiz_attempts
             WHERE user_id BETWEEN :first_id AND :last_id AND completed_at >= :start AND completed_at < :end
             ORDER BY user_id, completed_at, id) AS one_by_one
     GROUP BY user_id
), exercised AS (
    SELECT user_id, array_agg(width_bucket(created_at, :boundaries)::float8 ORDER BY created_at) AS days
      FROM exercise_submissions
     WHERE user_id BETWEEN :first_id AND :last_id AND created_at >= :start AND created_at < :end
     GROUP BY user_id
), begun AS MATERIALIZED (
    SELECT student.id AS user_id,
           30 + ((first_start.started_at AT TIME ZONE :zone)::date - :first) AS first_number,
           (greatest(
               (SELECT max(progress.started_at) FROM user_lesson_progress AS progress
                 WHERE progress.user_id = student.id AND progress.started_at < :start),
               (SELECT max(progress.completed_at) FROM user_lesson_progress AS progress
                 WHERE progress.user_id = student.id AND progress.completed_at < :start),
               (SELECT max(attempt.completed_at) FROM quiz_attempts AS attempt
                 WHERE attempt.user_id = student.id AND attempt.completed_at < :start),
               (SELECT max(exercise.created_at) FROM exercise_submissions AS exercise
                 WHERE exercise.user_id = student.id AND exercise.created_at < :start)
           ) AT TIME ZONE :zone)::date AS date_before,
           last_ten.scores
      FROM (SELECT id FROM users WHERE upper(trim(role)) = 'STUDENT' AND is_active
               AND id BETWEEN :first_id AND :last_id ORDER BY id) AS student
     CROSS JOIN LATERAL (
           SELECT progress.started_at
             FROM user_lesson_progress AS progress
            WHERE progress.user_id = student.id AND progress.started_at < :end
            ORDER BY progress.started_at
            LIMIT 1) AS first_start
     CROSS JOIN LATERAL (
           SELECT array_agg(score ORDER BY completed_at, id) AS scores
             FROM (SELECT score, completed_at, id
                     FROM quiz_attempts
                    WHERE user_id = student.id AND completed_at < :start AND score IS NOT NULL
                    ORDER BY completed_at DESC, id DESC
                    LIMIT 10) AS ten) AS last_ten
), student AS (
    SELECT user_id, first_number, date_before,
           coalesce(completed.days, '{}') AS completed,
           ARRAY(SELECT DISTINCT day FROM unnest(completed.days) AS day ORDER BY day) AS completed_distinct,
           coalesce(started.days, '{}') AS started,
           started.minutes,
           coalesce(attempted.days, '{}') AS attempted,
           coalesce(attempted.days_scored, '{}') AS scored,
           begun.scores || attempted.scores AS scores,
           coalesce(cardinality(begun.scores), 0) AS scored_before,
           coalesce(exercised.days, '{}') AS exercised,
           ARRAY(SELECT DISTINCT day
                   FROM unnest(completed.days || started.days || attempted.days || exercised.days) AS day
                  WHERE day >= 30 ORDER BY day) AS active
      FROM begun
      LEFT JOIN completed USING (user_id)
      LEFT JOIN started USING (user_id)
      LEFT JOIN attempted USING (user_id)
      LEFT JOIN exercised USING (user_id)
    OFFSET 0
), figured AS (
    SELECT user_id,
           number,
           least(greatest(number - first_number + 1, 7), 30) AS n,
           width_bucket(number, completed) - width_bucket(number - 30, completed) AS lessons,
           width_bucket(number, completed_distinct) - width_bucket(number - 30, completed_distinct) AS days,
           averages[scored_before + width_bucket(number, scored)] AS average,
           width_bucket(number, completed) - width_bucket(number - 1, completed) AS lessons_today,
           CASE WHEN started[width_bucket(number, started)] = number
                THEN minutes[width_bucket(number, started)] ELSE 0 END AS minutes,
           width_bucket(number, attempted) - width_bucket(number - 1, attempted) AS quizzes,
           width_bucket(number, exercised) - width_bucket(number - 1, exercised) AS exercises,
           coalesce(:first + (active[width_bucket(number, active)]::integer - 30), date_before) AS last_activity_date
      FROM student
     CROSS JOIN LATERAL (
           SELECT ARRAY(SELECT (40 * scores[k] + coalesce(25 * scores[k - 1], 0) + coalesce(20 * scores[k - 2], 0)
                                  + coalesce(10 * scores[k - 3], 0) + coalesce(5 * scores[k - 4], 0)
                                  + coalesce(4 * scores[k - 5], 0) + coalesce(3 * scores[k - 6], 0)
                                  + coalesce(2 * scores[k - 7], 0) + coalesce(scores[k - 8], 0)
                                  + coalesce(scores[k - 9], 0))
                               / ('{40,65,85,95,100,104,107,109,110,111}'::integer[])[least(k, 10)]
                          FROM generate_series(1, cardinality(scores)) AS k) AS averages
           OFFSET 0) AS per_attempt
     CROSS JOIN LATERAL (
           SELECT whole::float8 AS number
             FROM generate_series(greatest(30, first_number), cardinality(:boundaries)) AS whole) AS day
    OFFSET 0
), paced AS (
    SELECT *,
           floor((0.4::float8 * (least(lessons / n, 1) * 100)
                    + 0.3::float8 * (least(days * 3 / (n * 2), 1) * 100)
                    + 0.3::float8 * coalesce(average, 0)) * 100 + 0.5::float8 + 1e-9::float8) / 100 AS pace_score
      FROM figured
    OFFSET 0
)
SELECT user_id,
       :first + (number::integer - 30),
       pace_score,
       CASE WHEN pace_score >= 80 THEN 'ACCELERATED' WHEN pace_score >= 60 THEN 'FAST'
            WHEN pace_score >= 40 THEN 'MEDIUM' ELSE 'SLOW' END,
       floor(average * 100 + 0.5::float8 + 1e-9::float8) / 100,
       lessons_today,
       minutes,
       quizzes,
       exercises,
       last_activity_date,
       :first + (number::integer - 30) - last_activity_date,
       NULL, NULL, NULL, NULL, NULL,
       now()
  FROM paced
