-- The recommendations of a week for all students, as one statement on the platform's rows.
--
-- What makes it fast:
--   * The progress is read once for the starts, the lessons of two weeks and the last activity, and once for the next
--     lesson.
--   * The next lesson: the completed lessons are the bits of one number per student, ORed in one sequential scan of the
--     progress; the first unset bit is the next lesson. A search for the first lesson that is not completed, student by
--     student, read a page per lesson.
INSERT INTO adaptive_recommendations
       (user_id, week_start, recommendation_type, title, message, priority, metadata, is_active, created_at)
WITH progress AS (
    SELECT user_id, lesson_id, started_at, completed_at, least(started_at, completed_at) AS start,
           greatest(time_spent_minutes, 0) AS minutes
      FROM (SELECT user_id, lesson_id, time_spent_minutes,
                   CASE WHEN started_at BETWEEN '2000-01-01+00' AND now() THEN started_at END AS started_at,
                   CASE WHEN completed_at BETWEEN '2000-01-01+00' AND now() THEN completed_at END AS completed_at
              FROM user_lesson_progress) AS valid
), lessons_done AS MATERIALIZED (
    SELECT user_id, min(start) AS first_start,
           max(greatest(CASE WHEN started_at < :end THEN started_at END,
                        CASE WHEN completed_at < :end THEN completed_at END)) AS last_at,
           count(*) FILTER (WHERE completed_at >= :activity_start AND completed_at < :end) AS lessons
      FROM progress
     WHERE start < :end
     GROUP BY user_id
), attempted AS MATERIALIZED (
    SELECT user_id, max(completed_at) AS last_at
      FROM quiz_attempts
     WHERE completed_at < :end AND completed_at BETWEEN '2000-01-01+00' AND now()
     GROUP BY user_id
), submitted AS MATERIALIZED (
    SELECT user_id, max(created_at) AS last_at, count(*) FILTER (WHERE created_at >= :activity_start) AS exercises
      FROM exercise_submissions
     WHERE created_at < :end AND created_at BETWEEN '2000-01-01+00' AND now()
     GROUP BY user_id
), spent AS MATERIALIZED (
    SELECT user_id, sum(minutes)::bigint AS minutes
      FROM (SELECT user_id, least(sum(least(minutes, floor(extract(epoch FROM day_end - start) / 60))),
                                  extract(epoch FROM day_end - day_start) / 60) AS minutes
              FROM (SELECT day_start, lead(day_start, 1, :end) OVER (ORDER BY day_start) AS day_end
                      FROM unnest(CAST(:break_days AS timestamptz[])) AS day_start) AS day
              JOIN progress ON start >= day_start AND start < day_end
             GROUP BY user_id, day_start, day_end) AS by_day
     GROUP BY user_id
), student AS MATERIALIZED (
    SELECT id AS user_id, nullif(current_specialization, '') AS specialization, nullif(current_level, '') AS level,
           first_start, lessons_done.lessons, coalesce(submitted.exercises, 0) AS exercises, spent.minutes,
           submitted.last_at >= :exercises_start AS has_exercises,
           :sunday - (greatest(lessons_done.last_at, attempted.last_at, submitted.last_at)
                        AT TIME ZONE :zone)::date AS days_since_activity,
           snapshot.engagement_score
      FROM users
      LEFT JOIN lessons_done ON lessons_done.user_id = users.id
      LEFT JOIN attempted ON attempted.user_id = users.id
      LEFT JOIN submitted ON submitted.user_id = users.id
      LEFT JOIN spent ON spent.user_id = users.id
      LEFT JOIN performance_snapshots AS snapshot
             ON snapshot.user_id = users.id AND snapshot.snapshot_date = :sunday
     WHERE upper(trim(role)) = 'STUDENT' AND is_active
), cohort AS MATERIALIZED (
    SELECT specialization, level, bool_or(has_exercises) AS has_exercises,
           10 * count(first_start) >= count(*) OR coalesce(min(first_start) < :long_begun, false) AS has_begun
      FROM student
     WHERE specialization IS NOT NULL AND level IS NOT NULL
     GROUP BY specialization, level
), lesson AS MATERIALIZED (
    SELECT id AS lesson_id, title, specialization_id AS specialization, level_id AS level,
           dense_rank() OVER (ORDER BY specialization_id, level_id) AS course,
           (row_number() OVER (PARTITION BY specialization_id, level_id ORDER BY display_order, id))::integer - 1 AS place
      FROM lessons
     WHERE is_published AND specialization_id <> '' AND level_id <> ''
), bit_of_lesson AS MATERIALIZED (
    SELECT lesson_id, course,
           set_bit(repeat('0', (SELECT max(place) + 2 FROM lesson))::varbit, place, 1) AS completed
      FROM lesson
), gap AS (
    SELECT user_id, course, position(B'0' IN bit_or(completed)) - 1 AS place
      FROM progress
      JOIN bit_of_lesson USING (lesson_id)
     WHERE completed_at < :end
     GROUP BY user_id, course
), position_of_student AS MATERIALIZED (  -- before the lessons are joined, or each student meets every lesson
    SELECT student.user_id, own_course.course, coalesce(gap.place, 0) AS place
      FROM student
      JOIN (SELECT DISTINCT specialization, level, course FROM lesson) AS own_course USING (specialization, level)
      LEFT JOIN gap ON gap.user_id = student.user_id AND gap.course = own_course.course
), following AS MATERIALIZED (
    SELECT user_id, title, jsonb_build_object('lesson_id', lesson_id, 'lesson_title', title) AS metadata
      FROM position_of_student
      JOIN lesson USING (course, place)
), latest_score AS (
    SELECT DISTINCT ON (attempt.user_id, quiz.id) attempt.user_id, quiz.lesson_id,
           round(least(greatest(attempt.score, 0), 100)::numeric, 2) AS score
      FROM quiz_attempts AS attempt
      JOIN quizzes AS quiz ON quiz.id = attempt.quiz_id
     WHERE attempt.completed_at >= :review_start AND attempt.completed_at < :end AND attempt.completed_at <= now()
       AND attempt.score > '-Infinity' AND attempt.score < 'Infinity'
       AND quiz.lesson_id IN (SELECT id FROM lessons WHERE is_published)
     ORDER BY attempt.user_id, quiz.id, attempt.completed_at DESC, attempt.id DESC
), dismissed AS MATERIALIZED (
    SELECT user_id, recommendation_type, metadata
      FROM adaptive_recommendations
     WHERE week_start < :week_start AND dismissed_at > :end - interval '14 days'
), to_review AS (
    SELECT user_id, count(*) AS lessons,
           jsonb_build_object('lesson_ids', jsonb_agg(lesson_id ORDER BY place),
                              'scores', jsonb_agg(score::double precision ORDER BY place)) AS metadata
      FROM (SELECT user_id, lesson_id, min(score) AS score,
                   row_number() OVER (PARTITION BY user_id ORDER BY min(score), lesson_id) AS place
              FROM latest_score
             WHERE score < 60
               AND NOT EXISTS (SELECT FROM dismissed
                                WHERE dismissed.user_id = latest_score.user_id
                                  AND dismissed.recommendation_type = 'REVIEW_LESSON'
                                  AND dismissed.metadata -> 'lesson_ids' @> to_jsonb(latest_score.lesson_id))
             GROUP BY user_id, lesson_id) AS low
     WHERE place <= 3
     GROUP BY user_id
), found AS (
    SELECT user_id, 'TAKE_BREAK' AS recommendation_type, 95 AS priority, 'Time for a break' AS title,
           'You studied ' || minutes || ' minutes in three days. A pause now will help you keep going.' AS message,
           jsonb_build_object('total_minutes', minutes) AS metadata
      FROM student
     WHERE minutes >= 600
    UNION ALL
    SELECT user_id, 'RESUME_LEARNING', 90, 'Welcome back',
           'Your last activity was ' || days_since_activity || ' days ago: go on with “' || following.title || '”.',
           jsonb_build_object('days_inactive', days_since_activity) || following.metadata
      FROM student JOIN following USING (user_id)
     WHERE first_start IS NOT NULL
       AND CASE WHEN engagement_score IS NULL THEN days_since_activity >= 14
                ELSE days_since_activity >= 7 AND engagement_score < 35 END
    UNION ALL
    SELECT user_id, 'REVIEW_LESSON', 85, 'Worth another look',
           'Revisiting ' || to_review.lessons || CASE to_review.lessons WHEN 1 THEN ' lesson' ELSE ' lessons' END
             || ' will help you: your latest quiz score there was low.',
           to_review.metadata
      FROM student JOIN to_review USING (user_id)
    UNION ALL
    SELECT user_id, 'START_LEARNING', 80, 'Ready for your first lesson?',
           coalesce('“' || following.title || '” is the first lesson in your course.',
                    'You have not started a lesson yet: pick one that looks interesting.'),
           coalesce(following.metadata, '{}')
      FROM student
      LEFT JOIN following USING (user_id)
      LEFT JOIN cohort USING (specialization, level)
     WHERE first_start IS NULL AND coalesce(has_begun, true)
    UNION ALL
    SELECT user_id, 'PRACTICE_MORE', 75, 'Put it into practice',
           'You completed ' || lessons || ' lessons in two weeks, well done! An exercise will make them stick.',
           jsonb_build_object('lessons_done', lessons, 'exercises_done', exercises)
      FROM student JOIN cohort USING (specialization, level)
     WHERE lessons >= 5 AND exercises < 2 AND cohort.has_exercises
    UNION ALL
    SELECT user_id, 'CONTINUE_LEARNING', 70, 'Your next lesson',
           '“' || following.title || '” is the next lesson in your course.', following.metadata
      FROM student JOIN following USING (user_id)
     WHERE first_start IS NOT NULL
), allowed AS (
    SELECT *, bool_or(recommendation_type = 'TAKE_BREAK') OVER student AS is_tired,
           bool_or(recommendation_type = 'RESUME_LEARNING') OVER student AS is_away
      FROM found
     WHERE recommendation_type = 'REVIEW_LESSON'
        OR NOT EXISTS (SELECT FROM dismissed
                        WHERE dismissed.user_id = found.user_id
                          AND dismissed.recommendation_type = found.recommendation_type)
    WINDOW student AS (PARTITION BY user_id)
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY priority DESC) AS place
      FROM allowed
     WHERE NOT (is_tired AND recommendation_type IN ('PRACTICE_MORE', 'CONTINUE_LEARNING'))
       AND NOT (is_away AND recommendation_type = 'CONTINUE_LEARNING')
)
SELECT user_id, :week_start, recommendation_type, title, message, priority, metadata, true, now()
  FROM ranked
 WHERE place <= 3
