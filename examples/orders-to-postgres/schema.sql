create table orders (id text primary key, sku text not null, quantity int not null);
create table outbox (id bigint generated always as identity primary key, order_id text not null, status text not null default 'new');
create table valence_done (
  id varchar(200) primary key,
  result text,
  done_at timestamp with time zone not null default now()
);
