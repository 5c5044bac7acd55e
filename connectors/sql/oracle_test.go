//go:build oracle

package sql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sijms/go-ora/v2/network"
)

func TestOracleStatements(t *testing.T) {
	s := sqlOf("select * from t where a = ? and b in (?) and c in (?)", true, []any{2, "x"}, []any{})
	text, args, err := oracle.render(s.Texts, s.Values)
	if err != nil {
		t.Fatal(err)
	}
	is(t, "text", text, "select * from t where a = :1 and b in (:2, :3) and c in (select null from dual where 1 = 0)")
	is(t, "arguments", fmt.Sprint(args...), "1 2x")
	q := &queue{connection: &connection{dialect: &oracle}, listen: queueOf(), table: `"OUTBOX"`}
	before, after := oracle.claim(q.table, 7)
	is(t, "claim", strings.Join(q.condition(before, " order by id"+after).Texts, "?"), `select * from "OUTBOX" where (status = ?) order by id for update skip locked`)
}

func TestOracleErrors(t *testing.T) {
	for number, want := range map[int]string{1: "23505 false", 60: "40001 true", 1017: "28000 false", 3113: "08006 true", 20001: "HY000 false"} {
		code, retryable, ok := oracleState(fmt.Errorf("wrapped: %w", &network.OracleError{ErrCode: number}))
		if got := fmt.Sprint(code, " ", retryable); got != want || !ok {
			t.Errorf("%d: got %s, want %s", number, got, want)
		}
	}
}
