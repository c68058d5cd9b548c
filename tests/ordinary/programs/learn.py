"""scikit-learn: a random forest."""

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

x, y = make_classification(n_samples=12_000, n_features=40, random_state=3)
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=3)
forest = RandomForestClassifier(n_estimators=40, random_state=3)
forest.fit(x_train, y_train)  # slowest
print(forest.score(x_test, y_test))
