-- A ClickHouse user who can only read, and only so much: the one that analysts' queries run as. Run it as an
-- administrator, with a password of your own in place of 'choose-a-password' and your database for headrace:
--     clickhouse-client --multiquery < deploy/clickhouse/reader.sql
-- Then set HEADRACE_CLICKHOUSE_READER_URL=http://headrace_reader:PASSWORD@HOST:8123
-- For a server that is configured by files, reader.xml beside this one says the same.

-- readonly = 2: nothing can be written, and settings can be changed for a query, but for readonly itself. The
-- API states its own limits with each query; MAX is what nobody can go beyond.
CREATE SETTINGS PROFILE IF NOT EXISTS headrace_reader SETTINGS
    readonly = 2,
    max_execution_time = 60 MIN 1 MAX 60,
    max_memory_usage = 2147483648 MIN 1 MAX 2147483648,
    max_result_bytes = 1073741824 MIN 1 MAX 1073741824,
    max_bytes_to_read = 107374182400 MIN 1 MAX 107374182400,
    max_concurrent_queries_for_user = 32;

CREATE USER IF NOT EXISTS headrace_reader
    IDENTIFIED WITH sha256_password BY 'choose-a-password'
    SETTINGS PROFILE 'headrace_reader';

-- The views run with the rights of who asks, so it needs the tables below them too. No grant on sources: url(),
-- file(), s3() and remote() are refused.
GRANT SELECT ON headrace.* TO headrace_reader;
