package sql

import (
	"strings"
	"testing"

	"valence/internal/document"
)

func TestProcedure(t *testing.T) {
	for driver, ddl := range map[string]string{
		driverPostgres: "create procedure add_order(in id int, in total numeric, out n int, inout label text) language plpgsql as $$ begin insert into orders (id, total) values (id, total); select count(*) into n from orders; label := label || '!'; end $$",
		driverMySQL:    "create procedure add_order(in id int, in total decimal(30,10), out n int, inout label text) begin insert into orders (id, total) values (id, total); select count(*) into n from orders; set label = concat(label, '!'); select o.id from orders o order by o.id; select 1 as one; end",
	} {
		t.Run(driver, func(t *testing.T) {
			c := connect(t, database(t, driver), orders, ddl, dialects[driver].doneTable)
			results := map[string]string{driverPostgres: `[]`, driverMySQL: `[[{"id":7}],[{"one":1}]]`}[driver]
			in := object("label", "x", "id", 7, "total", "1.50")
			call := &procedure{Name: "add_order", In: in, Out: []string{"n", "label"}, Once: true}
			want := `{"out":{"n":1,"label":"x!"},"results":` + results + `}`
			for range 2 {
				got, err := runKey(t.Context(), c, "procedure", call, "same")
				if err != nil {
					t.Fatal(err)
				}
				is(t, "by name, once", sortedOut(got), sortedOut(want))
			}
			for text, bad := range map[string]*procedure{
				"no parameter \"nothing\"|nothing": {Name: "add_order", In: object("label", "x", "id", 9, "total", 1, "nothing", 1), Out: []string{"n"}},
				"missing":                          {Name: "missing", In: []any{document.Number("1")}},
				"`in` must be a map or a list":     {Name: "add_order", In: "text"},
			} {
				_, err := run(t.Context(), c, "procedure", bad)
				matches := false
				for _, part := range strings.Split(text, "|") {
					matches = matches || err != nil && strings.Contains(err.Error(), part)
				}
				if !matches {
					t.Errorf("got %v, want %s", err, text)
				}
			}
			is(t, "rows", rows(t, c, "select id from orders"), `[{"id":7}]`)
		})
	}
	_, err := run(t.Context(), connect(t, database(t, driverSQLite)), "procedure", &procedure{Name: "a"})
	fails(t, err, CodeBadCall, false)
}

// TestProcedureByPosition checks a list of input parameters, which the output
// parameters follow.
func TestProcedureByPosition(t *testing.T) {
	for driver, ddl := range map[string]string{
		driverPostgres: "create procedure twice(in a int, in b int, out total int) language plpgsql as $$ begin total := 2 * (a + b); end $$",
		driverMySQL:    "create procedure twice(in a int, in b int, out total int) set total = 2 * (a + b)",
	} {
		c := connect(t, database(t, driver), ddl)
		is(t, driver, must(t, c, "procedure", &procedure{Name: "twice", In: []any{document.Number("1"), document.Number("2")}, Out: []string{"total"}}), `{"out":{"total":6},"results":[]}`)
	}
}

// sortedOut makes the order of the output parameters irrelevant.
func sortedOut(text string) string {
	return strings.NewReplacer(`"label":"x!","n":1`, `"n":1,"label":"x!"`).Replace(text)
}
