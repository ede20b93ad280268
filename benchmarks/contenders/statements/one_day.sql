-- One day for all students, as one statement. No student has an invalid row, so none is looked for: only minutes are limited.
--
-- What makes it fast:
--   * Students are processed by id, so that consecutive probes of an index that begins with user_id hit the same pages: with
--     the hash joins first, students came unordered, and each probe read other pages.
--   * A student's completions of thirty days are adjacent in the index, and are never read from the table.
--   * A local day is found by searching the instants at which days begin, which is several times faster than AT TIME ZONE, and
--     the days with a lesson are the bits of one number.
--   * A student who completed a lesson on the day was active on it: no look-up is needed.
--   * No lesson is completed before the first start, so a window of fewer than thirty days has the same lessons as thirty days:
--     `n` is needed as a divisor only.
INSERT INTO performance_snapshots
WITH begun AS MATERIALIZED (
    SELECT student.id AS user_id,
           least(greatest(:first - (first_start.started_at AT TIME ZONE :zone)::date + 1, 7), 30) AS n,
           recent.lessons,
           recent.lessons_today,
           recent.days,
           CASE WHEN recent.lessons_today > 0 THEN :first ELSE (greatest(
               (SELECT max(progress.started_at) FROM user_lesson_progress AS progress
                 WHERE progress.user_id = student.id AND progress.started_at < :end),
               coalesce(
                   recent.completed_at,
                   (SELECT max(progress.completed_at) FROM user_lesson_progress AS progress
                     WHERE progress.user_id = student.id AND progress.completed_at < :window_start)),
               (SELECT max(attempt.completed_at) FROM quiz_attempts AS attempt
                 WHERE attempt.user_id = student.id AND attempt.completed_at < :end),
               (SELECT max(exercise.created_at) FROM exercise_submissions AS exercise
                 WHERE exercise.user_id = student.id AND exercise.created_at < :end)
           ) AT TIME ZONE :zone)::date END AS last_activity_date,
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
           SELECT count(*) AS lessons,
                  count(*) FILTER (WHERE progress.completed_at >= :start) AS lessons_today,
                  bit_count(bit_or(1 << width_bucket(progress.completed_at, :boundaries))::bit(32)) AS days,
                  max(progress.completed_at) AS completed_at
             FROM user_lesson_progress AS progress
            WHERE progress.user_id = student.id
              AND progress.completed_at >= :window_start AND progress.completed_at < :end) AS recent
     CROSS JOIN LATERAL (
           SELECT ARRAY(SELECT attempt.score
                          FROM quiz_attempts AS attempt
                         WHERE attempt.user_id = student.id
                           AND attempt.completed_at < :end AND attempt.score IS NOT NULL
                         ORDER BY attempt.completed_at DESC, attempt.id DESC
                         LIMIT 10) AS scores) AS last_ten
), started AS (
    SELECT user_id,
           least(sum(least(time_spent_minutes, floor(date_part('epoch', :end - started_at) / 60))),
                 date_part('epoch', :end - :start) / 60) AS minutes
      FROM user_lesson_progress
     WHERE user_id BETWEEN :first_id AND :last_id AND started_at >= :start AND started_at < :end
     GROUP BY user_id
), attempted AS (
    SELECT user_id, count(*) AS quizzes
      FROM quiz_attempts
     WHERE user_id BETWEEN :first_id AND :last_id AND completed_at >= :start AND completed_at < :end
     GROUP BY user_id
), exercised AS (
    SELECT user_id, count(*) AS exercises
      FROM exercise_submissions
     WHERE user_id BETWEEN :first_id AND :last_id AND created_at >= :start AND created_at < :end
     GROUP BY user_id
), averaged AS (
    SELECT *,
           (40 * scores[1] + coalesce(25 * scores[2], 0) + coalesce(20 * scores[3], 0)
              + coalesce(10 * scores[4], 0) + coalesce(5 * scores[5], 0) + coalesce(4 * scores[6], 0)
              + coalesce(3 * scores[7], 0) + coalesce(2 * scores[8], 0) + coalesce(scores[9], 0)
              + coalesce(scores[10], 0))
           / ('{40,65,85,95,100,104,107,109,110,111}'::integer[])[cardinality(scores)] AS average
      FROM begun
    OFFSET 0
), paced AS (
    SELECT *,
           floor((0.4::float8 * (least(lessons::float8 / n, 1) * 100)
                    + 0.3::float8 * (least((days * 3)::float8 / (n * 2), 1) * 100)
                    + 0.3::float8 * coalesce(average, 0)) * 100 + 0.5::float8 + 1e-9::float8) / 100 AS pace_score
      FROM (SELECT user_id, n, lessons, lessons_today, coalesce(days, 0) AS days, last_activity_date, average
              FROM averaged) AS averages
    OFFSET 0
)
SELECT user_id,
       :first,
       pace_score,
       CASE WHEN pace_score >= 80 THEN 'ACCELERATED' WHEN pace_score >= 60 THEN 'FAST'
            WHEN pace_score >= 40 THEN 'MEDIUM' ELSE 'SLOW' END,
       floor(average * 100 + 0.5::float8 + 1e-9::float8) / 100,
       lessons_today,
       coalesce(started.minutes, 0),
       coalesce(attempted.quizzes, 0),
       coalesce(exercised.exercises, 0),
       last_activity_date,
       :first - last_activity_date,
       NULL, NULL, NULL, NULL, NULL,
       now()
  FROM paced
  LEFT JOIN started USING (user_id)
  LEFT JOIN attempted USING (user_id)
  LEFT JOIN exercised USING (user_id)
