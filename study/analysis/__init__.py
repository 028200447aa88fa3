"""From records to tables and figures. Knows records, never torch."""
