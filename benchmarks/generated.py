"""A generated trading database: one large table, two smaller ones, keys and indexes."""

import psycopg

_SCHEMA = """
CREATE TABLE public.robots (id uuid PRIMARY KEY, name text NOT NULL UNIQUE, params jsonb NOT NULL);
CREATE TABLE public.trades (
    id bigint PRIMARY KEY, robot_id uuid NOT NULL REFERENCES public.robots, symbol text NOT NULL, side text NOT NULL,
    volume numeric(12,2) NOT NULL, open_price numeric(18,5) NOT NULL, close_price numeric(18,5),
    opened_at timestamptz NOT NULL, closed_at timestamptz, note text, params jsonb);
CREATE TABLE public.sources (id int PRIMARY KEY, body text NOT NULL);
"""
_ROWS = """
INSERT INTO public.robots SELECT md5(i::text)::uuid, 'robot ' || i, jsonb_build_object('lot', i)
FROM generate_series(1, 1000) i;
INSERT INTO public.trades
SELECT i, md5((1 + i % 1000)::text)::uuid, (ARRAY['EURUSD', 'XAUUSD', 'BTCUSD', 'US500'])[1 + i % 4],
       CASE WHEN i % 3 = 0 THEN 'buy' ELSE 'sell' END, (i % 500) / 100.0, 1 + random() * 2000, 1 + random() * 2000,
       '2026-01-01'::timestamptz + i * interval '3 seconds',
       '2026-01-01'::timestamptz + i * interval '3 seconds' + random() * interval '1 day',
       md5(random()::text) || md5(random()::text), jsonb_build_object('sl', i % 97, 'tp', random())
FROM generate_series(1, %(trades)s) i;
INSERT INTO public.sources
SELECT i, (SELECT string_agg(md5(random()::text), E'\n') FROM generate_series(1, 600) n WHERE n + i > 0)
FROM generate_series(1, %(trades)s / 40000) i;
CREATE INDEX trades_robot ON public.trades (robot_id, opened_at);
"""


def generate(dsn: str, trades: int) -> None:
    """Fill an empty database; 4,000,000 trades make about 1 GB of COPY text."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute(_SCHEMA)
        for statement in _ROWS.split(";\n"):
            if statement.strip():
                connection.execute(statement.replace("%(trades)s", str(trades)).encode())
        connection.execute("VACUUM ANALYZE")


def update_at_random(dsn: str, percent: float) -> int:
    """Update some per cent of the trades, spread over the whole table; return how many."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        query = "UPDATE public.trades SET note = md5(note) || note WHERE random() < %s"
        return connection.execute(query, [percent / 100]).rowcount
