package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The environment of the program that TestOnceSurvivesKills kills.
const (
	childDriver   = "VALENCE_SQL_TEST_CHILD"
	childSettings = "VALENCE_SQL_TEST_SETTINGS"
	childProgress = "VALENCE_SQL_TEST_PROGRESS"
	killCount     = "VALENCE_SQL_KILLS"
)

// child makes one call after the other. It records each one after its commit,
// and repeats the call that an earlier run has not recorded.
func child() {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(childSettings)), &s); err != nil {
		panic(err)
	}
	c, err := open(&s, nil)
	if err != nil {
		panic(err)
	}
	path := os.Getenv(childProgress)
	done, _ := os.ReadFile(path)
	progress, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	for i := strings.Count(string(done), "\n"); ; i++ {
		key := strconv.Itoa(i)
		for {
			_, err := runKey(context.Background(), c, "exec", execOnce(i), key)
			if err == nil {
				break
			}
			fmt.Fprintln(os.Stderr, err)
		}
		<-time.After(rand.N(2 * time.Millisecond)) // between its commit and ours
		if _, err := progress.WriteString(key + "\n"); err != nil {
			panic(err)
		}
	}
}

func execOnce(i int) *exec {
	return &exec{SQL: sqlOf("insert into written (id) values (?)", i), Once: true}
}

// TestOnceSurvivesKills checks that no call is written twice or never by a
// program that is killed at any time, also between the commit of the database
// and its own.
func TestOnceSurvivesKills(t *testing.T) {
	kills := 10
	if n, err := strconv.Atoi(os.Getenv(killCount)); err == nil {
		kills = n
	}
	each(t, func(t *testing.T, driver string) {
		s := database(t, driver)
		c := connect(t, s, "create table written (id int)", dialects[driver].doneTable)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		progress := filepath.Join(t.TempDir(), "progress")
		for range kills {
			cmd := osexec.Command(os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), childDriver+"="+driver, childSettings+"="+string(text), childProgress+"="+progress)
			before, _ := os.ReadFile(progress)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for { // it has written something
				<-time.After(20 * time.Millisecond)
				if now, _ := os.ReadFile(progress); len(now) > len(before) {
					break
				}
			}
			<-time.After(rand.N(30 * time.Millisecond))
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
		recorded, err := os.ReadFile(progress)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(recorded), "\n")
		if _, err := runKey(t.Context(), c, "exec", execOnce(n), strconv.Itoa(n)); err != nil { // the call that was interrupted
			t.Fatal(err)
		}
		is(t, "written", rows(t, c, "select count(*) as n, count(distinct id) as calls, max(id) as latest from written"), fmt.Sprintf(`[{"n":%d,"calls":%d,"latest":%d}]`, n+1, n+1, n))
		t.Logf("%d kills, %d calls", kills, n+1)
	})
}
