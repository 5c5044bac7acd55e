create table customers (
  id text primary key,
  name text not null,
  email text not null,
  version int not null default 1,       -- of the last change
  crm_version int not null default 0,   -- the version that the CRM has
  crm_id text
);
create function report_customer() returns trigger language plpgsql as $$
begin
  perform pg_notify('customers_changed', json_build_object('id', new.id)::text);
  return null;
end $$;
create trigger report_customer after insert or update of name, email on customers
  for each row execute function report_customer();
insert into customers (id, name, email) values ('C-0', 'Grace Hopper', 'grace@navy.example');
