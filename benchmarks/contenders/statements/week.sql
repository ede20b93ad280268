-- The recommendations of a week for all students, as one statement, on existing snapshots.
--
-- What makes it fast:
--   * The snapshots of fourteen days are read once, for three rules.
--   * The next lesson: the completed lessons are the bits of one number per student, ORed in one sequential scan of the
--     progress; the first unset bit is the next lesson. A search for the first lesson that is not completed, student by
--     student, read a page per lesson.
INSERT INTO adaptive_recommendations
       (user_id, week_start, recommendation_type, title, message, priority, metadata, is_active, created_at)
WITH student AS MATERIALIZED (
    SELECT id AS user_id, current_specialization AS specialization, current_level AS level
      FROM users
     WHERE upper(role) = 'STUDENT' AND is_active
), two_weeks AS MATERIALIZED (
    SELECT user_id,
           sum(time_spent_minutes_today) FILTER (WHERE snapshot_date > :sunday - 3) AS minutes,
           sum(lessons_completed_count) AS lessons,
           sum(exercises_submitted_count) AS exercises,
           max(last_activity_date) FILTER (WHERE snapshot_date = :sunday) AS last_activity_date
      FROM performance_snapshots
     WHERE snapshot_date BETWEEN :sunday - 13 AND :sunday
     GROUP BY user_id
), lesson AS MATERIALIZED (
    SELECT id AS lesson_id, title, specialization_id AS specialization, level_id AS level,
           dense_rank() OVER (ORDER BY specialization_id, level_id) AS course,
           (row_number() OVER (PARTITION BY specialization_id, level_id ORDER BY display_order, id))::integer - 1 AS place
      FROM lessons
     WHERE is_published AND specialization_id IS NOT NULL AND level_id IS NOT NULL
), bit_of_lesson AS MATERIALIZED (
    SELECT lesson_id, course,
           set_bit(repeat('0', (SELECT max(place) + 2 FROM lesson))::varbit, place, 1) AS completed
      FROM lesson
), gap AS (
    SELECT user_id, course, position(B'0' IN bit_or(completed)) - 1 AS place
      FROM user_lesson_progress
      JOIN bit_of_lesson USING (lesson_id)
     WHERE completed_at < :end
     GROUP BY user_id, course
), following AS MATERIALIZED (  -- before the lessons are joined, or each student meets every lesson of the course
    SELECT student.user_id, own_course.course, coalesce(gap.place, 0) AS place
      FROM student
      JOIN (SELECT DISTINCT specialization, level, course FROM lesson) AS own_course USING (specialization, level)
      LEFT JOIN gap ON gap.user_id = student.user_id AND gap.course = own_course.course
), latest_score AS (
    SELECT DISTINCT ON (attempt.user_id, quiz.lesson_id) attempt.user_id, quiz.lesson_id, attempt.score
      FROM quiz_attempts AS attempt
      JOIN quizzes AS quiz ON quiz.id = attempt.quiz_id
     WHERE attempt.completed_at >= :review_start AND attempt.completed_at < :end
       AND attempt.score IS NOT NULL AND quiz.lesson_id IS NOT NULL
     ORDER BY attempt.user_id, quiz.lesson_id, attempt.completed_at DESC, attempt.id DESC
), to_review AS (
    SELECT user_id, count(*) AS lessons,
           jsonb_build_object('lesson_ids', jsonb_agg(lesson_id ORDER BY place),
                              'scores', jsonb_agg(score ORDER BY place)) AS metadata
      FROM (SELECT user_id, lesson_id, score,
                   row_number() OVER (PARTITION BY user_id ORDER BY score, lesson_id) AS place
              FROM latest_score
             WHERE score < 70) AS low
     WHERE place <= 3
     GROUP BY user_id
), found AS (
    SELECT user_id, 'TAKE_BREAK' AS recommendation_type, 95 AS priority, 'Time for a break' AS title,
           'You studied ' || minutes || ' minutes in three days. A pause now will help you keep going.' AS message,
           jsonb_build_object('total_minutes', minutes) AS metadata
      FROM student JOIN two_weeks USING (user_id)
     WHERE minutes >= 600
    UNION ALL
    SELECT user_id, 'RESUME_LEARNING', 90, 'Welcome back',
           'Your last activity was ' || :sunday + 1 - last_activity_date
             || ' days ago. One short lesson is a good way back in.',
           jsonb_build_object('days_inactive', :sunday + 1 - last_activity_date)
      FROM student JOIN two_weeks USING (user_id)
     WHERE last_activity_date <= :sunday - 6
    UNION ALL
    SELECT user_id, 'REVIEW_LESSON', 85, 'Worth another look',
           'Revisiting ' || lessons || CASE lessons WHEN 1 THEN ' lesson' ELSE ' lessons' END
             || ' will help you: your latest quiz score there was below 70.',
           metadata
      FROM student JOIN to_review USING (user_id)
    UNION ALL
    SELECT user_id, 'START_LEARNING', 80, 'Ready for your first lesson?',
           'You have not started a lesson yet. Pick one that looks interesting and see how far you get.',
           '{}'
      FROM student LEFT JOIN two_weeks USING (user_id)
     WHERE last_activity_date IS NULL  -- who has a snapshot of the Sunday has started, and is not looked up
       AND NOT EXISTS (SELECT FROM user_lesson_progress AS progress
                        WHERE progress.user_id = student.user_id AND progress.started_at < :end)
    UNION ALL
    SELECT user_id, 'PRACTICE_MORE', 75, 'Put it into practice',
           'You completed ' || lessons || ' lessons in two weeks, well done! An exercise will make them stick.',
           jsonb_build_object('lessons_done', lessons, 'exercises_done', exercises)
      FROM student JOIN two_weeks USING (user_id)
     WHERE lessons >= 5 AND exercises < 2
    UNION ALL
    SELECT student.user_id, 'CONTINUE_LEARNING', 70, 'Your next lesson',
           '“' || next_lesson.title || '” is the next lesson in your course.',
           jsonb_build_object('lesson_id', next_lesson.lesson_id, 'lesson_title', next_lesson.title)
      FROM following AS student
      JOIN lesson AS next_lesson USING (course, place)
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY priority DESC) AS place
      FROM found
     WHERE NOT EXISTS (SELECT FROM adaptive_recommendations AS dismissed
                        WHERE dismissed.user_id = found.user_id
                          AND dismissed.recommendation_type = found.recommendation_type
                          AND dismissed.week_start < :week_start
                          AND dismissed.dismissed_at > :end - interval '14 days')
)
SELECT user_id, :week_start, recommendation_type, title, message, priority, metadata, true, now()
  FROM ranked
 WHERE place <= 5
