/* Constants of the note index. Each was chosen by trial on collections of scores, performances and
 * arrangements; docs/NOTES.md says what each one bought. Those that shape the file are in its
 * header, and a reader refuses others. */
#ifndef MS_NOTES_CONSTANTS_H
#define MS_NOTES_CONSTANTS_H

/* ---- What shapes the file ---- */
enum {
    MS_CHORD_MS = 50,     /* notes this near to the first of a group are one chord */
    MS_SOUNDING_MS = 60,  /* a line's note hides lower ones while it sounds this much longer */
    MS_INTERVALS = 8,     /* of a word */
    MS_INTERVAL_BITS = 6, /* of a key */
    MS_INTERVAL_MAX = 31, /* larger ones are held at this */
    MS_KEY_BITS = MS_INTERVALS * MS_INTERVAL_BITS,
    MS_LEAST_INTERVALS = 3, /* a word has; and the shortest prefix that is looked up */
    MS_SAME_INTERVALS = 6,  /* words of one note that agree in so many are one posting */
    MS_COMMON_INTERVALS = 5,
    MS_COMMON_MAX = 8, /* postings of a piece with the same first MS_COMMON_INTERVALS */
    MS_SPAN_BITS = 6,
    MS_BLOCK = 128 /* postings of a block */
};

/* ---- What a search does ---- */
enum {
    MS_FEW = 100,          /* postings at which a prefix is rare enough */
    MS_MOST = 2000,        /* more of a whole word: it is left out */
    MS_GROUPS = 200,       /* (piece, transposition) that are chained */
    MS_TRANSPOSE_MAX = 60, /* semitones */
    MS_LOOK_BACK = 80,     /* anchors before an anchor that may precede it in a chain */
    MS_STEP_MAX_MS = 15000,
    MS_CHAINS_OF_GROUP = 3,
    MS_VERIFIED = 48,        /* chains of a query */
    MS_NEAR_MS = 150,        /* a note agrees when it is this near to where the map puts it */
    MS_DROP = 25,            /* bits below its best at which a run of notes ends */
    MS_MAX_ANCHORS = 4000000 /* of one search; words with more postings give way */
};

/* Short queries: chance has more to set against them, and a look costs less. So many postings,
 * groups and chains are looked at, shared out among the query's words or notes, where that is more
 * than the limits above. docs/NOTES.md has what each step gained. */
enum {
    MS_SHORT_POSTINGS = 10000,
    MS_SHORT_GROUPS = 10000,
    MS_SHORT_VERIFIED = 4000,
    MS_PLAYED_NOTES = 32 /* up to here the order of onsets gives words too, chords not closed */
};

/* Light searches, which compare whole pieces quickly. */
enum { MS_LIGHT_SAMPLE = 8, MS_LIGHT_FEW = 10, MS_LIGHT_MOST = 60, MS_LIGHT_GROUPS = 60 };
/* Pairs: the least score of a light search, and the share of the shorter piece, 1 / SHARE. */
#define MS_PAIR_BITS 100.0
enum { MS_PAIR_SHARE = 4 };
/* ... or one place with so many bits, which no two strangers had. */
#define MS_PAIR_PLACE_BITS 155.0

/* Proposals: one word in SAMPLE is looked up, more of a piece with fewer than SAMPLE * NOTES notes;
 * groups that are chained; pieces that one piece proposes; the least weight of a group and score of
 * its chain. */
enum {
    MS_PAIR_SAMPLE = 8,
    MS_PAIR_ASKING_NOTES = 128,
    MS_PAIR_ASKED_GROUPS = 60,
    MS_PAIR_PROPOSED = 48
};
#define MS_PAIR_GROUP_BITS 120.0f
#define MS_PAIR_ASKED_BITS 80.0f
/* Heavier groups are proposed without a chain. */
#define MS_PAIR_SURE_BITS 1000.0f
/* Postings that are looked at of a word that too many pieces have; copies that one piece proposes. */
enum { MS_PAIR_FOLLOWERS = 32, MS_PAIR_COPIES = 16 };
/* Comparisons of two pieces: bits of an interval of a word, as rare words have; transpositions that
 * are chained; chains that are verified, and the least score of one. */
#define MS_PAIR_INTERVAL_BITS 4.0f
enum { MS_PAIR_GROUPS = 6, MS_PAIR_VERIFIED = 8 };
/* One word in at most SAMPLE is compared, all of a piece of at most 2 * NOTES notes; and the share of
 * the heaviest transposition's weight that another one needs. */
enum { MS_PAIR_CHAIN_SAMPLE = 4, MS_PAIR_CHAIN_NOTES = 200 };
#define MS_PAIR_GROUP_SHARE 0.2f
/* Words of a sample reach as far with fewer anchors. */
enum { MS_PAIR_LOOK_BACK = 32 };
#define MS_PAIR_CHAIN_BITS 20.0f

#define MS_WORD_REACH 3        /* K: notes after the first that a word's bits pay for */
#define MS_MATCHED_BITS 2.9f   /* the most that one matched note counts */
#define MS_UNMATCHED_BITS 2.5f /* what a note without a partner costs */
#define MS_SKIPPED_BITS 0.5f   /* what each target note between two matches costs */
#define MS_SKIPPED_MAX 12.0f   /* ... together */
#define MS_THIN 1.3f           /* notes a group below which a query is a tune: skipping is free */
#define MS_DRIFT 0.25f         /* share of a residual that moves the map outside its chain */
/* What a match off the beat costs: bits a note, of at most so many notes, at this residual. Among
 * excerpts of 12 notes the share with E below 0.001 rose from 0.22 to 0.43, and false ones became
 * fewer. */
#define MS_UNEVEN_BITS 0.8
#define MS_UNEVEN_NOTES 12
#define MS_UNEVEN_MS 120.0
/* What is less likely from the start: bits for an octave of tempo, up to so many octaves; for any
 * transposition, and for each semitone of it. docs/NOTES.md has what they gained. */
#define MS_TEMPO_BITS 2.0
#define MS_TEMPO_OCTAVES 2.0
#define MS_MOVED_BITS 1.0
#define MS_SEMITONE_BITS 0.1
enum { MS_SEMITONES = 36 };
/* A note of a tune that is found inside a chord, or at its bottom: a tune lies on top. Dense
 * textures have all notes somewhere. R@1 of tunes of 8 notes rose by 0.01 to 0.03. */
#define MS_INNER_BITS 0.4f
#define MS_BOTTOM_BITS 0.2f
/* Straight maps are tried for so many pieces, from so many notes on, when numbers of notes differ
 * by at most that share. */
enum { MS_STRAIGHT = 8, MS_STRAIGHT_NOTES = 16 };
#define MS_STRAIGHT_APART 0.03
/* A passage that so many pieces have is common property, and E is at least that. */
#define MS_COMMON_PIECES 20
#define MS_COMMON_EVALUE 0.01
#define MS_SECTION_BITS 25.0f /* a further chain counts from here on */
/* The tempo of a chain: times are eased, so that short steps do not make wild tempos; it follows
 * long steps more than short ones. */
enum { MS_EASE_MS = 80, MS_LONG_STEP_MS = 400 };
#define MS_FOLLOW_LONG 0.4f
#define MS_FOLLOW_SHORT 0.15f
/* A step off the tempo costs BITS for each (BASE + SHARE * expected) ms beyond SLACK. In ms rather
 * than in a ratio, which would let a chain slip by a bar in repetitive music. */
#define MS_OFF_SLACK_MS 40.0f
#define MS_OFF_BITS 4.0f
#define MS_OFF_BASE_MS 100.0f
#define MS_OFF_SHARE 0.2f
/* Bits for an octave between an anchor's own tempo and the chain's, and for each doubling of the
 * notes that a step skips. */
#define MS_OWN_TEMPO_BITS 0.5f
#define MS_SKIP_BITS 0.5f
#define MS_TEMPO_REJECT 1.2f /* octaves of tempo between two anchors */
#define MS_COST_REJECT 40.0f
#define MS_NOVELTY_MIN 0.1f

#endif
