-- Who asked for a change, and by which request: of the events that record one.
ALTER TABLE agent_events ADD COLUMN who TEXT;
ALTER TABLE agent_events ADD COLUMN request_id UUID;
