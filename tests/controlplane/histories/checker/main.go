// Judges the writes of a history: is there an order, for each Deployment, in which every call took effect at one moment
// between its beginning and its end? One line on stdout for each Deployment of which there is none.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// call is a line of the history, as record.py writes it.
type call struct {
	Client   int     `json:"client"`
	Kind     string  `json:"kind"`
	Key      string  `json:"key"`
	Began    float64 `json:"began"`
	Ended    float64 `json:"ended"`
	Outcome  string  `json:"outcome"`
	Count    int     `json:"count"`
	Expected int     `json:"expected"`
}

const anything = -1

// nobody knows the count that a history begins with: the first call that tells it decides.
const undecided = -2

var register = porcupine.NondeterministicModel{
	Init: func() []interface{} { return []interface{}{undecided} },
	Step: func(state, input, _ interface{}) []interface{} {
		count, c := state.(int), input.(call)
		switch {
		case c.Kind == "read":
			if count == undecided || count == c.Count {
				return []interface{}{c.Count}
			}
			return nil
		case c.Outcome == "mismatch":
			if count == undecided || count != c.Expected {
				return []interface{}{count}
			}
			return nil
		}
		fits := c.Expected == anything || count == undecided || count == c.Expected
		switch {
		case c.Outcome == "unknown" && fits:
			return []interface{}{count, c.Count}
		case c.Outcome == "unknown":
			return []interface{}{count}
		case fits:
			return []interface{}{c.Count}
		}
		return nil
	},
}

func main() {
	seconds := flag.Int("seconds", 60, "time for each Deployment")
	flag.Parse()
	histories, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	keys := make([]string, 0, len(histories))
	for key := range histories {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		switch porcupine.CheckOperationsTimeout(register.ToModel(), histories[key], time.Duration(*seconds)*time.Second) {
		case porcupine.Illegal:
			fmt.Printf("%s: the writes are not linearizable.\n", key)
		case porcupine.Unknown:
			fmt.Printf("%s: whether the writes are linearizable was not found out in %d s.\n", key, *seconds)
		}
	}
}

// read groups the calls by Deployment. One whose outcome is unknown may take effect at any later time.
func read(from io.Reader) (map[string][]porcupine.Operation, error) {
	histories := map[string][]porcupine.Operation{}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, err
		}
		ended := int64(c.Ended * 1e9)
		if c.Outcome == "unknown" {
			ended = math.MaxInt64
		}
		histories[c.Key] = append(histories[c.Key], porcupine.Operation{
			ClientId: c.Client, Input: c, Call: int64(c.Began * 1e9), Return: ended,
		})
	}
	return histories, lines.Err()
}
