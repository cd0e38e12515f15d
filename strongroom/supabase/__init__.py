"""What hosted Supabase adds to Postgres: whose an object is, vault secrets, storage objects."""
