package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"valence/internal/test/bench/baseline/order"
	"valence/internal/test/servers"
)

// database starts a PostgreSQL server and calls f with the URL of a database.
func database(ctx context.Context, f func(url string, conn *pgx.Conn) error) error {
	server, err := servers.NewPostgres()
	if err != nil {
		return err
	}
	defer server.Remove()
	if err := server.Start(); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	return joined(f(server.URL("postgres"), conn), func() error { return conn.Close(ctx) })
}

// claim is the size of a batch of a queue table, the default of the connector.
const claim = 100

// table receives the rows of a queue table.
func (b *bench) table(ctx context.Context) (rows []Row, err error) {
	return rows, database(ctx, func(url string, conn *pgx.Conn) error {
		c := &pull{title: "PostgreSQL: queue table, claimed, run, done", baseline: "pgx, for update skip locked in batches of 100", must: 0.5, n: 30_000, process: "take", env: []string{"PG_URL=" + url},
			project: "connection: db\nconnector: sql\ndriver: postgres\nurl: ${env.PG_URL}\n---\n" +
				"process: take\nsubscribe:\n  connection: db\n  table: SOURCE\n  key: id\n  where: status = 'new'\n  done: \"update SOURCE set status = 'done' where id = ${row.id}\"\nworkers: 64\nbacklog: 1000000\nsteps:\n  - set: { id: \"${doc.id}\" }\n"}
		c.fill = func(ctx context.Context, source string) error {
			_, err := conn.Exec(ctx, fmt.Sprintf("create table %[1]s (id bigint primary key, status text not null, payload text not null);"+
				"insert into %[1]s select n, 'new', '%[2]s' from generate_series(1, %[3]d) n; create index on %[1]s (id) where status = 'new'; analyze %[1]s", source, order.New("row"), c.n))
			return err
		}
		c.program = func(ctx context.Context, source string) error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			for n := 0; n < c.n; {
				err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					found, err := tx.Query(ctx, fmt.Sprintf("select id, status, payload from %s where status = 'new' order by id limit %d for update skip locked", source, claim))
					if err != nil {
						return err
					}
					var ids []int64
					var id int64
					var status, payload string
					if _, err := pgx.ForEachRow(found, []any{&id, &status, &payload}, func() error { ids = append(ids, id); return nil }); err != nil {
						return err
					}
					n += len(ids)
					_, err = tx.Exec(ctx, fmt.Sprintf("update %s set status = 'done' where id = any($1)", source), ids)
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
		c.finished = func(ctx context.Context, p *program, source string) (n int, err error) {
			if n, err = completed(ctx, p, source); n < c.n {
				return n, err
			}
			return n, conn.QueryRow(ctx, "select count(*) from "+source+" where status = 'done'").Scan(&n)
		}
		rows, err = one(b.measurePull(ctx, c))
		return err
	})
}

// inserted is the number of rows of one `sql.exec`.
const inserted = 100_000

type line struct {
	ID  int    `json:"id"`
	SKU string `json:"sku"`
	Qty int    `json:"qty"`
}

// each inserts many rows with one `sql.exec`.
func (b *bench) each(ctx context.Context) (rows []Row, err error) {
	lines := make([]line, inserted)
	for i := range lines {
		lines[i] = line{i, fmt.Sprintf("SKU-%d", i%977), i % 50}
	}
	body, err := json.Marshal(map[string]any{"lines": lines})
	if err != nil {
		return nil, err
	}
	return rows, database(ctx, func(url string, conn *pgx.Conn) (err error) {
		if _, err := conn.Exec(ctx, "create table lines (id bigint primary key, sku text not null, qty int not null)"); err != nil {
			return err
		}
		folder, err := os.MkdirTemp(b.folder, "each-")
		if err != nil {
			return err
		}
		project := "connection: db\nconnector: sql\ndriver: postgres\nurl: ${env.PG_URL}\n---\n" +
			"process: insert\nlisten: { path: /insert, input: json, output: json, auth: none, limits: { body: 64MiB } }\nsteps:\n  - call: db.exec\n    with:\n" +
			"      sql: \"insert into lines (id, sku, qty) values (${item.id}, ${item.sku}, ${item.qty})\"\n      each: ${doc.lines}\n    timeout: 2m\n  - reply: { rows: \"${doc.rows_affected}\" }\n"
		if err := os.WriteFile(filepath.Join(folder, "project.yaml"), []byte(project), 0o600); err != nil {
			return err
		}
		p, err := b.startAtom(ctx, folder, "", "", "PG_URL="+url)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.discard()) }()
		if err := p.ready(ctx, "/readyz", http.StatusOK, time.Minute); err != nil {
			return err
		}
		client := &http.Client{Timeout: 3 * time.Minute}
		row := Row{Workload: "PostgreSQL: sql.exec with each over 100,000 rows", Baseline: "pgx, one batch of a prepared statement", Unit: "rows/s", Must: 0.7,
			Notes: []string{"one request with all rows as JSON, read by both; load of the machine before " + loadAverage()}}
		var bases, atoms []float64
		for round := range b.Rounds + 1 { // the first one warms up
			var pair [2]float64
			for turn := range 2 {
				if _, err := conn.Exec(ctx, "truncate lines"); err != nil {
					return err
				}
				which, began := (turn+round)%2, time.Now()
				if which == 0 {
					err = insertBatch(ctx, url, body)
				} else {
					_, err = post(ctx, client, p.url+"/insert", body)
				}
				if err != nil {
					return fmt.Errorf("%w\n%s", err, p.tail())
				}
				pair[which] = inserted / time.Since(began).Seconds()
				var n int
				if err := conn.QueryRow(ctx, "select count(*) from lines").Scan(&n); err != nil || n != inserted {
					return fmt.Errorf("%d rows instead of %d (%w)", n, inserted, err)
				}
			}
			if round == 0 {
				continue
			}
			b.say("  round %d: %s of %s rows/s (%.2f)", round, figure(pair[1]), figure(pair[0]), pair[1]/pair[0])
			bases, atoms, row.Rounds = append(bases, pair[0]), append(atoms, pair[1]), append(row.Rounds, pair)
		}
		row.Base, row.Atom = median(bases), median(atoms)
		rows = []Row{row}
		return nil
	})
}

// insertBatch is the hand-written program.
func insertBatch(ctx context.Context, url string, body []byte) error {
	var in struct{ Lines []line }
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for _, l := range in.Lines {
			batch.Queue("insert into lines (id, sku, qty) values ($1, $2, $3)", l.ID, l.SKU, l.Qty)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}
